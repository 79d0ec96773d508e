//! A case on the kernel.

use crate::case::{Case, Outcome, RESULTS};
use ebpfvm_kernel::prog::log_level;
use ebpfvm_kernel::{Kernel, LoadRequest, Map, MapRequest, TestRun};
use ebpfvm_spec::{MapFlags, MapType};

/// The longest packet that a helper makes.
const MAX_PACKET_BYTES: usize = 65536;

/// Runs a case.
///
/// # Errors
/// What the kernel refuses, with its reason.
pub(crate) fn run(kernel: &Kernel, case: &Case) -> Result<Outcome, String> {
    let create = |request: &MapRequest<'_>| kernel.map_create(request).map_err(|e| e.to_string());
    let results = create(&MapRequest::new(MapType::Array, 4, 8 * RESULTS as u32, 1))?;
    let text = text_map(kernel, case)?;
    let more: Result<Vec<Map>, String> = case
        .maps
        .iter()
        .map(|(kind, key, value, entries)| create(&MapRequest::new(*kind, *key, *value, *entries)))
        .collect();
    let more = more?;
    for (map, key, value) in &case.entries {
        more[map - 2].update(key, value, 0).map_err(|e| format!("entry of map {map}: {e}"))?;
    }
    let fds: Vec<i32> = [&results, &text].into_iter().chain(&more).map(Map::fd).collect();
    let bytes = case.bytes();
    let request = LoadRequest {
        fd_array: &fds,
        log_level: log_level::PATH,
        ..LoadRequest::new(case.prog_type, &bytes)
    };
    let program = kernel.prog_load(&request).map_err(|e| e.to_string())?;
    let run = TestRun {
        data_in: &case.packet,
        data_out_capacity: MAX_PACKET_BYTES,
        ..TestRun::default()
    };
    let run = program.test_run(&run).map_err(|e| e.to_string())?;
    let value = results.lookup(&[0; 4]).map_err(|e| e.to_string())?.unwrap_or_default();
    Ok(Outcome {
        retval: run.retval,
        results: case.results(&value),
        packet: case.shows_packet().then_some(run.data_out),
    })
}

fn text_map(kernel: &Kernel, case: &Case) -> Result<Map, String> {
    let bytes = case.text.len().max(1);
    let mut request = MapRequest::new(MapType::Array, 4, bytes as u32, 1);
    request.flags = MapFlags::RDONLY_PROG;
    let map = kernel.map_create(&request).map_err(|e| e.to_string())?;
    let text = if case.text.is_empty() { &[0][..] } else { &case.text };
    map.update(&[0; 4], text, 0).map_err(|e| e.to_string())?;
    map.freeze().map_err(|e| e.to_string())?;
    Ok(map)
}
