//! What clients are told about models, as messages.

use crate::server::catalog::{Catalog, PLATFORM, Served};
use crate::server::statistics::Report;
use crate::wire::proto;
use crate::wire::{Duration, ModelMetadata, TensorMetadata};
use std::sync::Arc;

/// `KIND_CPU`.
const KIND_CPU: i32 = 2;

pub(super) fn model(metadata: ModelMetadata) -> proto::ModelMetadata {
    proto::ModelMetadata {
        name: metadata.name,
        versions: metadata.versions,
        platform: metadata.platform,
        inputs: metadata.inputs.into_iter().map(tensor).collect(),
        outputs: metadata.outputs.into_iter().map(tensor).collect(),
    }
}

fn tensor(tensor: TensorMetadata) -> proto::TensorMetadata {
    let TensorMetadata { name, datatype, shape } = tensor;
    proto::TensorMetadata { name, datatype, shape }
}

pub(super) fn configuration(served: &Served) -> proto::ModelConfig {
    let spec = &served.spec;
    let input = |tensor: &crate::TensorSpec| proto::ConfigInput {
        name: tensor.name.clone(),
        data_type: proto::data_type_number(tensor.datatype),
        dims: tensor.dims.clone(),
        optional: tensor.optional,
    };
    let output = |tensor: &crate::TensorSpec| proto::ConfigOutput {
        name: tensor.name.clone(),
        data_type: proto::data_type_number(tensor.datatype),
        dims: tensor.dims.clone(),
    };
    proto::ModelConfig {
        name: spec.name.clone(),
        platform: PLATFORM.to_owned(),
        // Checked when the model was added.
        max_batch_size: spec.max_batch_size as i32,
        input: spec.inputs.iter().map(input).collect(),
        output: spec.outputs.iter().map(output).collect(),
        instance_group: vec![proto::InstanceGroup {
            name: format!("{}_0", spec.name),
            count: i32::try_from(served.instances).unwrap_or(i32::MAX),
            kind: KIND_CPU,
        }],
        sequence_batching: spec.sequence.then_some(proto::NoFields {}),
        backend: PLATFORM.to_owned(),
        transaction_policy: Some(proto::TransactionPolicy { decoupled: false }),
    }
}

pub(super) fn statistics(served: &[&Arc<Served>]) -> proto::Statistics {
    proto::Statistics { models: served.iter().map(|served| model_statistics(served)).collect() }
}

fn model_statistics(served: &Served) -> proto::ModelStatistics {
    let Report { total, batches } = served.statistics.report();
    proto::ModelStatistics {
        name: served.spec.name.clone(),
        version: served.spec.version.clone(),
        last_inference: total.last_inference_ms,
        inference_count: total.inference_count,
        execution_count: total.execution_count,
        inference_stats: Some(proto::InferStatistics {
            success: duration(total.success),
            fail: duration(total.fail),
            queue: duration(total.queue),
            compute_input: duration(total.compute_input),
            compute_infer: duration(total.compute_infer),
            compute_output: duration(total.compute_output),
        }),
        batch_stats: batches
            .into_iter()
            .map(|(batch_size, batch)| proto::BatchStatistics {
                batch_size,
                compute_input: duration(batch.input),
                compute_infer: duration(batch.infer),
                compute_output: duration(batch.output),
            })
            .collect(),
    }
}

fn duration(duration: Duration) -> Option<proto::StatisticDuration> {
    Some(proto::StatisticDuration { count: duration.count, ns: duration.ns })
}

pub(super) fn index(catalog: &Catalog) -> proto::Index {
    let model = |served: &Arc<Served>| proto::IndexModel {
        name: served.spec.name.clone(),
        version: served.spec.version.clone(),
        state: "READY".to_owned(),
        reason: String::new(),
    };
    proto::Index { models: catalog.all().map(model).collect() }
}
