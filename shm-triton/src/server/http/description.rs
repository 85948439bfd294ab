//! What clients are told about the server and its models, as JSON.

use crate::server::catalog::{Catalog, PLATFORM, Served};
use crate::server::statistics::Report;
use crate::spec::TensorSpec;
use crate::wire::{Duration, ModelMetadata, RegionStatus, ServerMetadata, TensorMetadata};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn server(metadata: &ServerMetadata) -> Value {
    json!({ "name": metadata.name, "version": metadata.version, "extensions": metadata.extensions })
}

pub(super) fn model(metadata: &ModelMetadata) -> Value {
    json!({
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": metadata.inputs.iter().map(tensor).collect::<Value>(),
        "outputs": metadata.outputs.iter().map(tensor).collect::<Value>(),
    })
}

fn tensor(tensor: &TensorMetadata) -> Value {
    json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape })
}

pub(super) fn configuration(served: &Served) -> Value {
    let spec = &served.spec;
    let mut configuration = json!({
        "name": spec.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": spec.max_batch_size,
        "input": spec.inputs.iter().map(|input| {
            let mut tensor = configured_tensor(input);
            tensor["format"] = "FORMAT_NONE".into();
            tensor["is_shape_tensor"] = false.into();
            tensor["allow_ragged_batch"] = false.into();
            tensor["optional"] = input.optional.into();
            tensor
        }).collect::<Value>(),
        "output": spec.outputs.iter().map(|output| {
            let mut tensor = configured_tensor(output);
            tensor["label_filename"] = "".into();
            tensor["is_shape_tensor"] = false.into();
            tensor
        }).collect::<Value>(),
        "batch_input": [],
        "batch_output": [],
        "instance_group": [{
            "name": format!("{}_0", spec.name),
            "kind": "KIND_CPU",
            "count": served.instances,
            "gpus": [],
        }],
        "default_model_filename": "",
        "parameters": {},
        "model_warmup": [],
        "model_transaction_policy": { "decoupled": false },
    });
    if spec.sequence {
        configuration["sequence_batching"] =
            json!({ "max_sequence_idle_microseconds": 0, "direct": {} });
    }
    configuration
}

fn configured_tensor(tensor: &TensorSpec) -> Value {
    let datatype = match tensor.datatype.name() {
        "BYTES" => "STRING",
        name => name,
    };
    json!({ "name": tensor.name, "data_type": format!("TYPE_{datatype}"), "dims": tensor.dims })
}

pub(super) fn statistics(served: &[&Arc<Served>]) -> Value {
    json!({ "model_stats": served.iter().map(|served| model_statistics(served)).collect::<Value>() })
}

fn model_statistics(served: &Served) -> Value {
    let Report { total, batches } = served.statistics.report();
    json!({
        "name": served.spec.name,
        "version": served.spec.version,
        "last_inference": total.last_inference_ms,
        "inference_count": total.inference_count,
        "execution_count": total.execution_count,
        "inference_stats": {
            "success": duration(&total.success),
            "fail": duration(&total.fail),
            "queue": duration(&total.queue),
            "compute_input": duration(&total.compute_input),
            "compute_infer": duration(&total.compute_infer),
            "compute_output": duration(&total.compute_output),
            "cache_hit": duration(&Duration::default()),
            "cache_miss": duration(&Duration::default()),
        },
        "batch_stats": batches.iter().map(|(size, batch)| json!({
            "batch_size": size,
            "compute_input": duration(&batch.input),
            "compute_infer": duration(&batch.infer),
            "compute_output": duration(&batch.output),
        })).collect::<Value>(),
        "memory_usage": [],
    })
}

fn duration(duration: &Duration) -> Value {
    json!({ "count": duration.count, "ns": duration.ns })
}

pub(super) fn index(catalog: &Catalog) -> Value {
    let model = |served: &Arc<Served>| json!({ "name": served.spec.name, "version": served.spec.version, "state": "READY", "reason": "" });
    catalog.all().map(model).collect()
}

pub(super) fn regions(regions: &[RegionStatus]) -> Value {
    let region = |region: &RegionStatus| {
        json!({
            "name": region.name,
            "key": region.key,
            "offset": region.offset,
            "byte_size": region.byte_size,
        })
    };
    regions.iter().map(region).collect()
}
