//! Maps of maps.

use ebpfvm::map::{CreateError, Map, MapLimits, MapRef, UpdateFlags};
use ebpfvm_spec::{Errno, MapDef, MapType};
use std::sync::Arc;
use std::thread;

fn create(def: &MapDef) -> Result<MapRef, CreateError> {
    Map::create(def, 1, &MapLimits::default())
}

fn inner_def() -> MapDef {
    MapDef::new("inner", MapType::Array, 4, 8, 2)
}

fn outer(kind: MapType) -> MapRef {
    let inner = Some(Box::new(inner_def()));
    create(&MapDef { inner, ..MapDef::new("outer", kind, 4, 4, 3) }).unwrap()
}

const KINDS: [MapType; 2] = [MapType::ArrayOfMaps, MapType::HashOfMaps];

#[test]
fn maps_go_in_and_out() {
    for kind in KINDS {
        let (outer, inner) = (outer(kind), create(&inner_def()).unwrap());
        let key = 2u32.to_ne_bytes();
        assert!(outer.inner(&key).is_none());
        outer.set_inner(&key, inner.clone(), UpdateFlags::ANY).unwrap();
        assert_eq!(outer.inner(&key).unwrap().id(), inner.id());
        assert_eq!(outer.read(&key).unwrap(), inner.id().to_ne_bytes());
        let other = create(&inner_def()).unwrap();
        outer.set_inner(&key, other.clone(), UpdateFlags::ANY).unwrap();
        assert_eq!(outer.inner(&key).unwrap().id(), other.id());
        assert_eq!(Arc::strong_count(&inner), 1, "a replaced map is let go");
        outer.remove(&key).unwrap();
        assert!(outer.inner(&key).is_none());
        assert_eq!(Arc::strong_count(&other), 1, "a removed map is let go");
        assert!(outer.inner(&[0; 3]).is_none());
        let error = outer.write(&key, &[0; 4], UpdateFlags::ANY).unwrap_err();
        assert_eq!(error.errno(), Errno::EBADF);
        let wrong = create(&MapDef { value_bytes: 4, ..inner_def() }).unwrap();
        let error = outer.set_inner(&key, wrong, UpdateFlags::ANY).unwrap_err();
        assert_eq!(error.to_string(), "map 'outer': set inner map: EINVAL (invalid argument)");
    }
    let error = create(&inner_def()).unwrap();
    let error = error.set_inner(&[0; 4], outer(KINDS[0]), UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL);
}

#[test]
fn the_pattern_is_checked() {
    for kind in KINDS {
        let bare = MapDef::new("outer", kind, 4, 4, 3);
        let error = create(&bare).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        assert!(error.to_string().contains("inner map is not given, expected the definition"));
        for (inner, errno) in [
            (MapDef { key_bytes: 8, ..inner_def() }, Errno::EINVAL),
            (MapDef::new("i", MapType::ProgArray, 4, 4, 1), Errno::ENOTSUPP),
            (MapDef { inner: Some(Box::new(inner_def())), ..bare.clone() }, Errno::EINVAL),
        ] {
            let error = create(&MapDef { inner: Some(Box::new(inner)), ..bare.clone() });
            assert_eq!(error.unwrap_err().errno(), errno);
        }
    }
}

/// A map that is replaced stays whole for those who hold it.
#[test]
fn inner_maps_are_exchanged_under_their_users() {
    for kind in KINDS {
        let outer = outer(kind);
        let inners = [create(&inner_def()).unwrap(), create(&inner_def()).unwrap()];
        let key = 1u32.to_ne_bytes();
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..5_000 {
                    let inner = inners[round % 2].clone();
                    outer.set_inner(&key, inner, UpdateFlags::ANY).unwrap();
                    if round % 3 == 0 {
                        outer.remove(&key).unwrap();
                    }
                }
            });
            scope.spawn(|| {
                for _ in 0..5_000 {
                    if let Some(inner) = outer.inner(&key) {
                        assert_eq!(inner.read(&[0; 4]).unwrap(), [0; 8]);
                    }
                }
            });
        });
        drop(outer);
        assert!(inners.iter().all(|inner| Arc::strong_count(inner) == 1), "{kind:?}");
    }
}
