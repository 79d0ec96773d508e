//! Values through their types, to JSON and back.

use ebpfvm_loader::Object;
use ebpfvm_loader::btf::value::{from_json, to_json};
use ebpfvm_spec::btf::KindTag;
use ebpfvm_spec::map::MapOrigin;
use serde_json::json;

fn object(name: &str) -> Object {
    let path = format!("{}/tests/objects/{name}.o", env!("CARGO_MANIFEST_DIR"));
    Object::parse(&std::fs::read(&path).unwrap(), &path).unwrap()
}

fn expected() -> serde_json::Value {
    json!({
        "byte": 200, "yes": true, "letter": 120, "negative": -5, "color": "BELOW", "big": "HUGE",
        "name": "abc", "mac": [2, 0, 0, 0, 0, 1], "points": [{"x": 1, "y": -2}, {"x": 3, "y": 4}],
        "low": 5, "mid": 100, "high": 123456, "small": -3, "word": 0x04030201u32,
        "parts": [1, 2, 3, 4], "inside": 77, "pointer": "0x1234", "real": 1.5,
        "wide": "0x10000000000000000000000001", "to": "0x0", "call": "0x0", "texts": ["0x0", "0x0"],
    })
}

#[test]
fn a_value_is_what_the_source_says_in_both_byte_orders() {
    for name in ["values", "values_be"] {
        let object = object(name);
        let btf = object.btf().unwrap();
        let map = object.maps().iter().find(|m| m.name.ends_with(".data")).unwrap();
        let MapOrigin::Section { data, .. } = &map.origin else { panic!() };
        let order = object.byte_order();
        let mut expected = expected();
        if name == "values_be" {
            expected["parts"] = json!([4, 3, 2, 1]);
        }
        let section = to_json(btf, map.value_type.unwrap(), data, order).unwrap();
        assert_eq!(section["everything"], expected, "{name}");
        assert_eq!(section["packed"], json!({"a": 1, "b": 2}), "{name}");

        // And back: the same bytes.
        let bytes = from_json(btf, map.value_type.unwrap(), &section, order).unwrap();
        assert_eq!(bytes, **data, "{name}");
    }
}

#[test]
fn json_may_be_written_by_hand() {
    let object = object("values");
    let btf = object.btf().unwrap();
    let all = btf.find("all", KindTag::Struct).unwrap();
    let order = object.byte_order();
    let given = json!({
        "byte": "0xc8", "letter": "x", "color": 2, "mac": "02:00:00:00:00:01", "name": "abc",
        "points": [{"y": -2}], "word": 16909060,
    });
    let bytes = from_json(btf, all, &given, order).unwrap();
    let back = to_json(btf, all, &bytes, order).unwrap();
    assert_eq!(back["byte"], 200);
    assert_eq!(back["letter"], 120);
    assert_eq!(back["color"], "GREEN");
    assert_eq!(back["mac"], json!([2, 0, 0, 0, 0, 1]));
    assert_eq!(back["points"], json!([{"x": 0, "y": -2}, {"x": 0, "y": 0}]));
    assert_eq!(back["parts"], json!([4, 3, 2, 1]));
}

#[test]
fn what_does_not_fit_is_named_with_its_path() {
    let object = object("values");
    let btf = object.btf().unwrap();
    let all = btf.find("all", KindTag::Struct).unwrap();
    let message = |json| from_json(btf, all, &json, object.byte_order()).unwrap_err().to_string();
    let cases = [
        (json!({"byte": 256}), "at .byte: found 256, expected a number from 0 to 255"),
        (json!({"small": 8}), "at .small: found 8, expected a number from -8 to 7"),
        (json!({"points": [{}, {"y": "q"}]}), "at .points[1].y: found \"q\", expected a number"),
        (json!({"points": [{}, {}, {}]}), "at .points: found 3 elements, expected at most 2"),
        (
            json!({"name": "too long a name"}),
            "at .name: found \"too long a name\", expected at most 8 bytes",
        ),
        (json!([1]), "found [1], expected an object of members"),
    ];
    for (json, expected) in cases {
        assert_eq!(message(json), expected);
    }
    assert!(message(json!({"bite": 1})).starts_with("there is no member 'bite'; there are 'byte'"));
    assert!(message(json!({"color": "BLUE"})).contains("one of RED, GREEN, BELOW"));
    let short = to_json(btf, all, &[0; 10], object.byte_order()).unwrap_err();
    assert_eq!(short.path, ".negative");
}
