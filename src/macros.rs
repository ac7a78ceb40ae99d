//! Code that several types share, as macros.

/// Implements a trait for pointers. The body calls the pointee.
///
/// A box of a closure is a closure itself. So a trait that closures implement lists its boxes one by one.
macro_rules! pointers {
    ($trait:path: $([$($generics:tt)*] $pointer:ty),+; $body:tt) => {$(
        impl<$($generics)*> $trait for $pointer $body
    )+};
}

/// Gives access to the inner service `S` in the field `inner`.
macro_rules! accessors {
    ($service:ident<$($generic:ident),+>) => {
        impl<$($generic),+> $service<$($generic),+> {
            /// Returns the inner service.
            pub fn get_ref(&self) -> &S {
                &self.inner
            }

            /// Returns the inner service, to change it.
            pub fn get_mut(&mut self) -> &mut S {
                &mut self.inner
            }

            /// Unwraps the inner service.
            pub fn into_inner(self) -> S {
                self.inner
            }
        }
    };
}

/// Implements `Debug` without any field, so that no field needs `Debug`.
macro_rules! opaque {
    ($($name:ident<$($generic:ident),+>)+) => {$(
        impl<$($generic),+> std::fmt::Debug for $name<$($generic),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

/// Implements a `Debug` of errors that writes the text of `Display`.
macro_rules! debug_as_display {
    ($($Error:ty),+) => {$(
        /// Writes the same text as `Display`, because `main` prints the `Debug` of a returned error.
        impl std::fmt::Debug for $Error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

pub(crate) use {accessors, debug_as_display, opaque, pointers};
