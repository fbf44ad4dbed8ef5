//! JSON that somebody else writes, read without building what nobody wants.
//!
//! Every member is optional, and one that has another type than the documentation says is passed over. Texts are borrowed from what is read
//! as long as they hold no escape.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A member that should be a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text, if it is one.
    pub(super) fn any(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text, if it is one that is not empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.any().filter(|text| !text.is_empty())
    }
}

/// A JSON object of which some members are wanted. Of two members of one name the last one counts.
pub(super) trait Members<'de>: Default {
    /// Takes the member of this name: exactly one value of the map.
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Declares an object with the members that are wanted of it.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty = $member:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub(super) struct $name<'a> {
            $(pub(super) $field: $type,)*
        }

        impl<'de: 'a, 'a> $crate::domain::lenient::Members<'de> for $name<'a> {
            fn take<A: serde::de::MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
                match name {
                    $($member => self.$field = map.next_value()?,)*
                    _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                }
                Ok(())
            }
        }
    };
}
pub(super) use object;

/// A member that should be an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object<T>(Option<T>);

impl<T> Object<T> {
    /// The object, if it is one.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

/// An object none of whose members is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Opaque;

impl<'de> Members<'de> for Opaque {
    fn take<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// A member that should be a list of objects. What is no object in it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objects<T>(Vec<T>);

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Objects<T> {
    /// The objects of the list.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// Whether a flag is set: emulators write booleans as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

/// Takes a value of any type: what the implementor does not want has the type's default.
trait Wanted<'de>: Default {
    fn of_borrowed(text: &'de str) -> Self {
        Self::of_text(text)
    }
    fn of_text(_: &str) -> Self {
        Self::default()
    }
    fn of_bool(_: bool) -> Self {
        Self::default()
    }
    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'de: 'a, 'a> Wanted<'de> for Text<'a> {
    fn of_borrowed(text: &'de str) -> Self {
        Self(Some(Cow::Borrowed(text)))
    }
    fn of_text(text: &str) -> Self {
        Self(Some(Cow::Owned(text.to_owned())))
    }
}

impl Wanted<'_> for Flag {
    fn of_text(text: &str) -> Self {
        Self(text == "true")
    }
    fn of_bool(value: bool) -> Self {
        Self(value)
    }
}

impl<'de, T: Members<'de>> Wanted<'de> for Object<T> {
    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut members = T::default();
        while let Some(Name(name)) = map.next_key()? {
            members.take(&name, &mut map)?;
        }
        Ok(Self(Some(members)))
    }
}

impl<'de, T: Members<'de>> Wanted<'de> for Objects<T> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut objects = Vec::new();
        while let Some(Object(object)) = list.next_element()? {
            objects.extend(object);
        }
        Ok(Self(objects))
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Wanted<'de>> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::of_borrowed(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::of_bool(value))
    }
    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::of_map(map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de, T: Members<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de, T: Members<'de>> Deserialize<'de> for Objects<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a member")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    object!(
        /// Something with a member of each kind.
        Thing {
            name: Text<'a> = "name",
            set: Flag = "set",
            inner: Object<Inner<'a>> = "inner",
            opaque: Object<Opaque> = "opaque",
            all: Objects<Inner<'a>> = "all",
        }
    );
    object!(Inner { name: Text<'a> = "name", });

    fn thing(text: &str) -> Thing<'_> {
        serde_json::from_str::<Object<Thing<'_>>>(text).unwrap().0.unwrap()
    }

    #[test]
    fn what_is_wanted_is_there_and_a_text_without_escapes_is_borrowed() {
        let text = r#"{"x":[{"y":1e2}],"name":"a","set":"true","inner":{"name":"\u0062"},"opaque":{"z":[1]},"all":[1,{"name":"c"},null,{}]}"#;
        let thing = thing(text);
        assert!(matches!(thing.name.0, Some(Cow::Borrowed("a"))));
        assert_eq!(thing.set, Flag(true));
        assert_eq!(thing.inner.get().unwrap().name.get(), Some("b"));
        assert!(thing.opaque.get().is_some());
        assert_eq!(thing.all.iter().map(|one| one.name.get()).collect::<Vec<_>>(), [Some("c"), None]);
    }

    #[test]
    fn a_member_of_another_type_is_passed_over() {
        for value in ["null", "true", "-1", "1", "1.5", "[[1],{\"a\":2}]", "{\"a\":[]}", "\"\""] {
            let text = format!(
                r#"{{"name":{value},"set":{value},"inner":{value},"opaque":{value},"all":{value},"after":{value}}}"#
            );
            let thing = thing(&text);
            assert_eq!(thing.name.get(), None, "{value}");
            assert_eq!(thing.set, Flag(value == "true"), "{value}");
            let is_object = value.starts_with('{');
            assert_eq!((thing.inner.get().is_some(), thing.opaque.get().is_some()), (is_object, is_object), "{value}");
            assert_eq!(thing.all.iter().count(), usize::from(value.starts_with('[')), "{value}");
        }
    }

    #[test]
    fn of_two_members_of_one_name_the_last_one_counts() {
        let thing = thing(r#"{"name":"a","inner":{"name":"a"},"name":"b","inner":{}}"#);
        assert_eq!((thing.name.get(), thing.inner.get().unwrap().name.get()), (Some("b"), None));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{\"name\":}", "{\"other\":[}", "{} {}", "{\"name\" \"a\"}"] {
            assert!(serde_json::from_str::<Object<Thing<'_>>>(text).is_err(), "{text}");
        }
    }
}
