//! A case on this machine, in checked mode: interpreted, and as machine code.

use crate::case::{Case, Outcome, RESULTS};
use ebpfvm::map::UpdateFlags;
use ebpfvm::{Context, DEFAULT_FUEL, Engine, MapRef, Vm, World};
use ebpfvm_spec::map::MapOrigin;
use ebpfvm_spec::{MapDef, MapFlags, MapType, Program};
use std::sync::Arc;

/// Runs a case.
///
/// # Errors
/// What cannot be linked or traps, or what machine code does otherwise.
pub(crate) fn run(case: &Case) -> Result<Outcome, String> {
    run_in(World::new, case)
}

/// Runs a case in a world that is made anew for each engine.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_in(world: impl Fn() -> World, case: &Case) -> Result<Outcome, String> {
    let [interpreted, compiled] =
        [Engine::Interpreter, Engine::Jit].map(|engine| run_on(engine, world(), case));
    match (&interpreted, &compiled) {
        (Ok(one), Ok(other)) if one.to_string() == other.to_string() => interpreted,
        (Err(one), Err(other)) if one == other => interpreted,
        (Ok(one), Ok(other)) => Err(format!("{one}; as machine code:\n{other}")),
        (Ok(one), Err(why)) => Err(format!("{one}; as machine code:\n{why}")),
        (Err(why), _) => Err(format!("{why}; as machine code something else")),
    }
}

fn run_on(engine: Engine, world: World, case: &Case) -> Result<Outcome, String> {
    let vm = Vm::linux().host(Arc::new(world)).engine(engine).build();
    let create = |def: &MapDef| vm.create_map(def).map_err(|e| e.to_string());
    let text = if case.text.is_empty() { vec![0] } else { case.text.clone() };
    let mut text_def = MapDef::new("text", MapType::Array, 4, text.len() as u32, 1);
    text_def.flags = MapFlags(MapFlags::RDONLY_PROG);
    text_def.origin = MapOrigin::Section { section: ".rodata".into(), data: text.into() };
    let results = MapDef::new("results", MapType::Array, 4, 8 * RESULTS as u32, 1);
    let mut maps: Vec<MapRef> = vec![create(&results)?, create(&text_def)?];
    for (i, (kind, key, value, entries)) in case.maps.iter().enumerate() {
        let name = format!("map{}", i + 2);
        maps.push(create(&MapDef::new(name, *kind, *key, *value, *entries))?);
    }
    for (map, key, value) in &case.entries {
        let written = maps[*map].write(key, value, UpdateFlags::ANY);
        written.map_err(|e| format!("entry of map {map}: {e}"))?;
    }
    let program = Program::from_code(&case.name, case.prog_type, case.code());
    let instance = vm.link(program, &maps).map_err(|e| e.to_string())?;
    let mut ctx = Context::packet(case.prog_type, &case.packet).map_err(|e| e.to_string())?;
    let outcome = instance.run(&mut ctx, DEFAULT_FUEL).map_err(|e| e.to_string())?;
    let value = maps[0].read(&[0; 4]).map_err(|e| e.to_string())?;
    Ok(Outcome {
        retval: outcome.retval as u32,
        results: case.results(&value),
        packet: case.shows_packet().then(|| packet(&ctx)),
    })
}

/// The packet with its metadata, as the kernel gives it back.
fn packet(ctx: &Context) -> Vec<u8> {
    ctx.visible_packet().map(|packet| packet.data_with_meta().to_vec()).unwrap_or_default()
}
