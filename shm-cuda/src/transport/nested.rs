//! Data that is nested in lists, tuples and maps, with tensors in some places.

/// Lists, tuples and maps of leaves and tensors. What a leaf means is the caller's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nested<T> {
    /// A tensor, or what stands for one.
    Tensor(T),
    /// Anything else, passed on as it is.
    Leaf(Vec<u8>),
    /// A list.
    List(Vec<Nested<T>>),
    /// A tuple.
    Tuple(Vec<Nested<T>>),
    /// A map, in its order.
    Map(Vec<(String, Nested<T>)>),
}

impl<T> Nested<T> {
    /// The same with every tensor replaced.
    pub fn map<U>(self, mut replace: impl FnMut(T) -> U) -> Nested<U> {
        let replaced = self.try_map(|tensor| Ok::<U, core::convert::Infallible>(replace(tensor)));
        match replaced {
            Ok(nested) => nested,
            Err(never) => match never {},
        }
    }

    /// The same with every tensor replaced, in order.
    ///
    /// # Errors
    /// The first one; what was replaced until then, and what was not, is dropped.
    pub fn try_map<U, E>(self, mut replace: impl FnMut(T) -> Result<U, E>) -> Result<Nested<U>, E> {
        self.replaced(&mut replace)
    }

    /// The same with every tensor borrowed.
    pub fn as_ref(&self) -> Nested<&T> {
        match self {
            Nested::Tensor(tensor) => Nested::Tensor(tensor),
            Nested::Leaf(bytes) => Nested::Leaf(bytes.clone()),
            Nested::List(items) => Nested::List(items.iter().map(Nested::as_ref).collect()),
            Nested::Tuple(items) => Nested::Tuple(items.iter().map(Nested::as_ref).collect()),
            Nested::Map(items) => {
                Nested::Map(items.iter().map(|(key, item)| (key.clone(), item.as_ref())).collect())
            }
        }
    }

    /// Every tensor, in order.
    pub fn tensors(&self) -> Vec<&T> {
        let mut tensors = Vec::new();
        let _ = self.as_ref().try_map(|tensor| {
            tensors.push(tensor);
            Ok::<(), core::convert::Infallible>(())
        });
        tensors
    }

    fn replaced<U, E>(self, replace: &mut impl FnMut(T) -> Result<U, E>) -> Result<Nested<U>, E> {
        Ok(match self {
            Nested::Tensor(tensor) => Nested::Tensor(replace(tensor)?),
            Nested::Leaf(bytes) => Nested::Leaf(bytes),
            Nested::List(items) => Nested::List(all(items, replace)?),
            Nested::Tuple(items) => Nested::Tuple(all(items, replace)?),
            Nested::Map(items) => {
                let item = |(key, item): (String, Nested<T>)| Ok((key, item.replaced(replace)?));
                Nested::Map(items.into_iter().map(item).collect::<Result<_, E>>()?)
            }
        })
    }
}

fn all<T, U, E>(
    items: Vec<Nested<T>>,
    replace: &mut impl FnMut(T) -> Result<U, E>,
) -> Result<Vec<Nested<U>>, E> {
    items.into_iter().map(|item| item.replaced(replace)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Nested<u32> {
        Nested::Map(vec![
            ("a".into(), Nested::List(vec![Nested::Tensor(1), Nested::Leaf(vec![9])])),
            ("b".into(), Nested::Tuple(vec![Nested::Tensor(2), Nested::Tensor(3)])),
        ])
    }

    #[test]
    fn tensors_are_replaced_in_order_and_the_rest_stays() {
        assert_eq!(sample().tensors(), [&1, &2, &3]);
        let doubled = sample().map(|tensor| tensor * 2);
        assert_eq!(doubled.tensors(), [&2, &4, &6]);
        assert_eq!(doubled.map(|tensor| tensor / 2), sample());
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut seen = Vec::new();
        let refused = sample().try_map(|tensor| {
            seen.push(tensor);
            if tensor == 2 { Err("two") } else { Ok(()) }
        });
        assert_eq!((refused, seen), (Err("two"), vec![1, 2]));
    }
}
