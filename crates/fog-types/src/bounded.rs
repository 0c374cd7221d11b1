//! Deserializers that refuse a list or map as soon as it exceeds its bound: a short message can announce
//! millions of empty texts, which take many times its size in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Number of entries for which memory is reserved before they are read, at most.
const AT_ONCE: usize = 256;

struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let announced = from.size_hint().unwrap_or(0);
        if announced > MOST {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut list = Vec::with_capacity(announced.min(AT_ONCE));
        while let Some(entry) = from.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            list.push(entry);
        }
        Ok(list)
    }
}

struct Map<K, V, const MOST: usize>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const MOST: usize> Visitor<'de>
    for Map<K, V, MOST>
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MOST} entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<BTreeMap<K, V>, A::Error> {
        let announced = from.size_hint().unwrap_or(0);
        if announced > MOST {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut map = BTreeMap::new();
        // Equal keys count too: each one takes time to read.
        let mut count = 0;
        while let Some((key, value)) = from.next_entry()? {
            count += 1;
            if count > MOST {
                return Err(A::Error::invalid_length(count, &self));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Reads a list of at most `MOST` entries; for `#[serde(deserialize_with)]`.
///
/// # Errors
/// Returns the format's errors, and one for a longer list before its rest is read.
pub fn list<'de, const MOST: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// Reads a map of at most `MOST` entries; for `#[serde(deserialize_with)]`.
///
/// # Errors
/// Returns the format's errors, and one for a larger map before its rest is read.
pub fn map<'de, const MOST: usize, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<K, V>, D::Error> {
    from.deserialize_map(Map::<K, V, MOST>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Few {
        #[serde(deserialize_with = "super::list::<3, _, _>")]
        list: Vec<String>,
        #[serde(deserialize_with = "super::map::<2, _, _, _>")]
        map: BTreeMap<String, u8>,
    }

    fn few(list: usize, map: usize) -> Few {
        Few { list: vec![String::new(); list], map: (0..map).map(|n| (n.to_string(), 1)).collect() }
    }

    #[test]
    fn what_is_longer_than_its_bound_is_refused_in_every_format() {
        for (list, map, is_fine) in [(3, 2, true), (0, 0, true), (4, 0, false), (0, 3, false)] {
            let value = few(list, map);
            let bytes = postcard::to_stdvec(&value).unwrap();
            assert_eq!(postcard::from_bytes::<Few>(&bytes).is_ok(), is_fine, "{list} {map}");
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Few>(&text).is_ok(), is_fine, "{list} {map}");
        }
    }
}
