use super::{extracted::Extracted, extractor::Extract, first_of::FirstOf};
use crate::{location::KeyLocation, request_head::RequestHead};

/// Adds the value of one more location. Returns false if there are two values, because a request may use one
/// location.
#[inline(always)]
fn add<'a>(found: &mut Extracted<'a>, next: Extracted<'a>) -> bool {
    match (&*found, next) {
        (_, Extracted::Absent) => true,
        (Extracted::Absent, next @ Extracted::Found(_)) => {
            *found = next;
            true
        }
        _ => false,
    }
}

impl<E: Extract> Extract for [E] {
    fn locations(&self) -> Vec<KeyLocation> {
        self.iter().flat_map(Extract::locations).collect()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        let mut found = Extracted::Absent;
        for extractor in self {
            if !add(&mut found, extractor.extract(head)) {
                return Extracted::Ambiguous;
            }
        }
        found
    }
}

impl<E: Extract> Extract for Vec<E> {
    fn locations(&self) -> Vec<KeyLocation> {
        self.as_slice().locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        self.as_slice().extract(head)
    }
}

impl<E: Extract, const N: usize> Extract for [E; N] {
    fn locations(&self) -> Vec<KeyLocation> {
        self.as_slice().locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        self.as_slice().extract(head)
    }
}

macro_rules! tuples {
    ($(($($extractor:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<$($extractor: Extract),+> Extract for ($($extractor,)+) {
            fn locations(&self) -> Vec<KeyLocation> {
                let ($($extractor,)+) = self;
                [$($extractor.locations()),+].concat()
            }

            fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
                let ($($extractor,)+) = self;
                let mut found = Extracted::Absent;
                $(
                    if !add(&mut found, $extractor.extract(head)) {
                        return Extracted::Ambiguous;
                    }
                )+
                found
            }
        }

        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<$($extractor: Extract),+> Extract for FirstOf<($($extractor,)+)> {
            fn locations(&self) -> Vec<KeyLocation> {
                self.0.locations()
            }

            fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
                let ($($extractor,)+) = &self.0;
                $(
                    match $extractor.extract(head) {
                        Extracted::Absent => {}
                        found => return found,
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
