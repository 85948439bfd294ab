//! The models of a service, and what clients are told about them.

use super::admission::Queue;
use super::statistics::Statistics;
use super::{BuildError, Model, Refusal};
use crate::spec::{ModelSpec, TensorSpec};
use crate::wire::{ModelMetadata, TensorMetadata};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What clients are told runs the models.
pub(super) const PLATFORM: &str = "rust";

/// A model that is served.
pub(super) struct Served {
    pub model: Arc<dyn Model>,
    pub spec: Arc<ModelSpec>,
    pub instances: usize,
    pub queue: Arc<Queue>,
    pub statistics: Statistics,
}

impl Served {
    fn new(model: Arc<dyn Model>) -> Served {
        let mut spec = model.spec().clone();
        if spec.version.is_empty() {
            spec.version = "1".to_owned();
        }
        let instances = model.instances().max(1);
        Served {
            model,
            spec: Arc::new(spec),
            instances,
            queue: Arc::new(Queue::new(instances)),
            statistics: Statistics::default(),
        }
    }

    /// The tensor's shape as the protocol tells it: with the batch dimension, as -1.
    fn tensor(&self, tensor: &TensorSpec) -> TensorMetadata {
        let mut shape = tensor.dims.clone();
        if self.spec.max_batch_size > 0 {
            shape.insert(0, -1);
        }
        TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.datatype.name().to_owned(),
            shape,
        }
    }
}

/// Models by name and version.
pub(super) struct Catalog(BTreeMap<String, Versions>);

type Versions = Vec<Arc<Served>>;

impl Catalog {
    pub fn new(models: Vec<Arc<dyn Model>>) -> Result<Catalog, BuildError> {
        let mut catalog: BTreeMap<String, Versions> = BTreeMap::new();
        for model in models {
            let served = Served::new(model);
            check(&served.spec)?;
            let versions = catalog.entry(served.spec.name.clone()).or_default();
            if versions.iter().any(|other| other.spec.version == served.spec.version) {
                return Err(BuildError::SameModel {
                    model: served.spec.name.clone(),
                    version: served.spec.version.clone(),
                });
            }
            versions.push(Arc::new(served));
        }
        for versions in catalog.values_mut() {
            // Numbers as numbers: "10" comes after "9".
            versions.sort_by_key(|served| {
                (served.spec.version.parse::<u64>().ok(), served.spec.version.clone())
            });
        }
        Ok(Catalog(catalog))
    }

    /// The model of that name and version; the newest if the version is empty.
    pub fn find(&self, name: &str, version: &str) -> Result<&Arc<Served>, Refusal> {
        let versions = self.0.get(name).ok_or_else(|| {
            Refusal::not_found(format!("Request for unknown model: '{name}' is not found"))
        })?;
        let served = if version.is_empty() {
            versions.last()
        } else {
            versions.iter().find(|served| served.spec.version == version)
        };
        served.ok_or_else(|| {
            Refusal::not_found(format!(
                "Request for unknown model: '{name}' version {version} is not found"
            ))
        })
    }

    pub fn metadata(&self, name: &str, version: &str) -> Result<ModelMetadata, Refusal> {
        let served = self.find(name, version)?;
        let versions = match version {
            "" => self.0[name].iter().map(|served| served.spec.version.clone()).collect(),
            version => vec![version.to_owned()],
        };
        Ok(ModelMetadata {
            name: name.to_owned(),
            versions,
            platform: PLATFORM.to_owned(),
            inputs: served.spec.inputs.iter().map(|tensor| served.tensor(tensor)).collect(),
            outputs: served.spec.outputs.iter().map(|tensor| served.tensor(tensor)).collect(),
        })
    }

    /// The versions of the model that are meant: all of all models if the name is empty.
    pub fn select(&self, name: &str, version: &str) -> Result<Vec<&Arc<Served>>, Refusal> {
        if name.is_empty() {
            return Ok(self.all().collect());
        }
        let found = self.find(name, version)?;
        Ok(if version.is_empty() { self.0[name].iter().collect() } else { vec![found] })
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.0.values().flatten()
    }
}

fn check(spec: &ModelSpec) -> Result<(), BuildError> {
    let invalid = |why: String| BuildError::Spec { model: spec.name.clone(), why };
    if spec.name.is_empty() {
        return Err(invalid("its name is empty".into()));
    }
    if spec.decoupled {
        return Err(invalid("it is decoupled, and a server here answers each request once".into()));
    }
    if i32::try_from(spec.max_batch_size).is_err() {
        return Err(invalid(format!(
            "max_batch_size is {}, more than a configuration can tell",
            spec.max_batch_size
        )));
    }
    for tensors in [&spec.inputs, &spec.outputs] {
        for (at, tensor) in tensors.iter().enumerate() {
            if tensor.name.is_empty() {
                return Err(invalid("a tensor's name is empty".into()));
            }
            if tensors[..at].iter().any(|other| other.name == tensor.name) {
                return Err(invalid(format!("two tensors have the name '{}'", tensor.name)));
            }
            if let Some(dim) = tensor.dims.iter().find(|&&dim| dim < -1) {
                return Err(invalid(format!(
                    "a dimension of '{}' is {dim}; give a length, or -1 for any",
                    tensor.name
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;
    use crate::server::{Call, ModelError};

    struct Named(ModelSpec);

    impl Model for Named {
        fn spec(&self) -> &ModelSpec {
            &self.0
        }

        fn infer(&self, _: &mut Call<'_>) -> Result<(), ModelError> {
            Ok(())
        }
    }

    fn catalog(specs: impl IntoIterator<Item = ModelSpec>) -> Result<Catalog, BuildError> {
        Catalog::new(
            specs.into_iter().map(|spec| Arc::new(Named(spec)) as Arc<dyn Model>).collect(),
        )
    }

    fn version(version: &str) -> ModelSpec {
        ModelSpec { version: version.to_owned(), ..ModelSpec::new("m", 0) }
    }

    #[test]
    fn the_newest_version_is_meant_unless_one_is_named() {
        let catalog = catalog(["10", "9", "2"].map(version)).unwrap();
        assert_eq!(catalog.find("m", "").unwrap().spec.version, "10");
        assert_eq!(catalog.find("m", "9").unwrap().spec.version, "9");
        assert_eq!(catalog.metadata("m", "").unwrap().versions, ["2", "9", "10"]);
        assert_eq!(catalog.select("", "").unwrap().len(), 3);
        assert!(catalog.find("m", "1").is_err() && catalog.find("n", "").is_err());
    }

    #[test]
    fn models_that_cannot_be_served_are_refused() {
        let twice = ModelSpec::new("m", 0).input("X", DataType::Int8, &[1]).input(
            "X",
            DataType::Int8,
            &[1],
        );
        let cases = [
            (vec![version(""), version("1")], "'m' in version 1"),
            (vec![ModelSpec::new("", 0)], "name is empty"),
            (vec![ModelSpec { decoupled: true, ..version("1") }], "decoupled"),
            (vec![twice], "'X'"),
            (vec![version("1").output("Y", DataType::Int8, &[-2])], "-2"),
        ];
        for (specs, part) in cases {
            let error = catalog(specs).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
