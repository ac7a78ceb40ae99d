use super::{Extract, Extracted, Head};
use crate::place::Place;

/// Takes the first place that holds something. Made by [`first_of`].
#[derive(Clone, Debug)]
pub struct FirstOf<T>(T);

/// Of two to eight extractors, the first whose place holds something decides.
///
/// A wrong or ambiguous key there is not followed by another try. The other places are not read,
/// and emptied like the first. A plain tuple refuses a request that fills two places, with 400.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, first_of, header}};
///
/// let find = first_of((header("x-api-key"), bearer()));
/// let layer = ApiKeyLayer::new(find, Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[must_use]
pub fn first_of<T>(extractors: T) -> FirstOf<T>
where
    FirstOf<T>: Extract,
{
    FirstOf(extractors)
}

/// Two places at once are too many.
fn one_of<'a>(a: Extracted<'a>, b: impl FnOnce() -> Extracted<'a>) -> Extracted<'a> {
    match a {
        Extracted::Absent => b(),
        Extracted::Ambiguous => Extracted::Ambiguous,
        Extracted::Found(_) => match b() {
            Extracted::Absent => a,
            Extracted::Found(_) | Extracted::Ambiguous => Extracted::Ambiguous,
        },
    }
}

macro_rules! tuples {
    ($(($($extractor:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<$($extractor: Extract),+> Extract for ($($extractor,)+) {
            fn places(&self) -> Vec<Place> {
                let ($($extractor,)+) = self;
                [$($extractor.places()),+].concat()
            }

            fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
                let ($($extractor,)+) = self;
                let found = Extracted::Absent;
                $(let found = one_of(found, || $extractor.extract(head));)+
                found
            }
        }

        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<$($extractor: Extract),+> Extract for FirstOf<($($extractor,)+)> {
            fn places(&self) -> Vec<Place> {
                self.0.places()
            }

            fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
                let ($($extractor,)+) = &self.0;
                $(
                    match $extractor.extract(head) {
                        Extracted::Absent => {}
                        there => return there,
                    }
                )+
                Extracted::Absent
            }
        }
    )+};
}

tuples! {
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}
