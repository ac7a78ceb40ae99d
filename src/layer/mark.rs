//! The mark of a request that the layer passes on without a client.

use std::marker::PhantomData;

use http::Extensions;

use super::{anonymous::Anonymous, exempt::Exempt};

/// The reason why a request has no client.
#[derive(Clone)]
pub(super) enum Mark {
    Anonymous(Anonymous),
    Exempt(Exempt),
}

/// The mark for one type of client. Layers for other client types do not replace it, because a guard for
/// this type must find the mark of the layer for this type.
#[derive(Clone)]
struct MarkFor<C> {
    mark: Mark,
    client: PhantomData<fn() -> C>,
}

impl Mark {
    /// Inserts the mark for this client type, which replaces a mark of a layer further out.
    pub(super) fn insert<C: Clone + 'static>(self, extensions: &mut Extensions) {
        extensions.insert(MarkFor::<C> { mark: self.clone(), client: PhantomData });
        Self::remove_innermost(extensions);
        match self {
            Self::Anonymous(anonymous) => drop(extensions.insert(anonymous)),
            Self::Exempt(exempt) => drop(extensions.insert(exempt)),
        }
    }

    /// Removes the mark of the layer that was the innermost until now.
    #[inline(always)]
    pub(super) fn remove_innermost(extensions: &mut Extensions) {
        extensions.remove::<Anonymous>();
        extensions.remove::<Exempt>();
    }

    /// Returns the mark for this client type, or none if the request has a client of this type.
    ///
    /// A layer that accepts a request leaves the mark of a layer further out, because that costs it less.
    fn of<C>(extensions: &Extensions) -> Option<Found<'_>>
    where
        C: Clone + Send + Sync + 'static,
    {
        if extensions.get::<C>().is_some() {
            return None;
        }
        match extensions.get::<MarkFor<C>>().map(|found| &found.mark) {
            Some(Self::Anonymous(anonymous)) => Some(Found::Anonymous(anonymous)),
            Some(Self::Exempt(exempt)) => Some(Found::Exempt(exempt)),
            None => extensions
                .get()
                .map(Found::Anonymous)
                .or_else(|| extensions.get().map(Found::Exempt)),
        }
    }
}

/// A mark in the extensions of a request.
enum Found<'a> {
    Anonymous(&'a Anonymous),
    Exempt(&'a Exempt),
}

impl Anonymous {
    /// Finds the extension of the layer for this client type, or else of the innermost layer.
    ///
    /// Use this rather than `extensions.get::<Anonymous>()`, which always finds the innermost layer. If layers
    /// for two client types are nested, the innermost layer can have other challenges. If the request has a
    /// client of this type, or is [`Exempt`] for the layer of this type, this returns `None`.
    #[must_use]
    pub fn of<C>(extensions: &Extensions) -> Option<&Self>
    where
        C: Clone + Send + Sync + 'static,
    {
        match Mark::of::<C>(extensions)? {
            Found::Anonymous(anonymous) => Some(anonymous),
            Found::Exempt(_) => None,
        }
    }
}

impl Exempt {
    /// Finds the extension of the layer for this client type, or else of the innermost layer.
    ///
    /// If the request has a client of this type, or is [`Anonymous`] to the layer for this
    /// type, this returns `None`.
    #[must_use]
    pub fn of<C>(extensions: &Extensions) -> Option<&Self>
    where
        C: Clone + Send + Sync + 'static,
    {
        match Mark::of::<C>(extensions)? {
            Found::Exempt(exempt) => Some(exempt),
            Found::Anonymous(_) => None,
        }
    }
}
