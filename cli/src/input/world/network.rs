//! The network of a world: devices, routes, rules, neighbours.

use crate::failure::Failure;
use crate::input::value::Json;
use ebpfvm::host::world::{Neighbour, Network, Rule};
use ebpfvm::host::{Device, Route, RouteKind};
use serde::Deserialize;
use std::net::IpAddr;

/// What is given of the network. The loopback device is always there.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkDescription {
    devices: Vec<DeviceDescription>,
    routes: Vec<RouteDescription>,
    rules: Vec<RuleDescription>,
    neighbours: Vec<NeighbourDescription>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceDescription {
    ifindex: u32,
    mac: Option<Mac>,
    mtu: Option<u32>,
    up: Option<bool>,
    /// Packets of both versions of IP.
    forwards: Option<bool>,
    forwards_ipv4: Option<bool>,
    forwards_ipv6: Option<bool>,
    rx_queues: Option<u32>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteDescription {
    to: Prefix,
    ifindex: u32,
    via: Option<IpAddr>,
    table: Option<u32>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    metric: u32,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    #[serde(default)]
    encapsulates: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDescription {
    table: u32,
    #[serde(default)]
    mark: u32,
    mask: Option<u32>,
    from: Option<Prefix>,
    arrives: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NeighbourDescription {
    ifindex: u32,
    address: IpAddr,
    mac: Mac,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Unicast,
    Local,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

impl From<Kind> for RouteKind {
    fn from(kind: Kind) -> RouteKind {
        match kind {
            Kind::Unicast => RouteKind::Unicast,
            Kind::Local => RouteKind::Local,
            Kind::Blackhole => RouteKind::Blackhole,
            Kind::Unreachable => RouteKind::Unreachable,
            Kind::Prohibit => RouteKind::Prohibit,
            Kind::Throw => RouteKind::Throw,
        }
    }
}

/// `02:00:5e:00:53:01`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Mac([u8; 6]);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        let byte = |part: &str| match part.len() {
            2 => u8::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).map(Mac);
        bytes
            .ok_or_else(|| format!("\"{text}\" is no link-layer address such as 02:00:5e:00:53:01"))
    }
}

/// `10.0.0.0/8`; an address alone has all its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Prefix {
    network: IpAddr,
    bits: u8,
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Prefix, String> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits)),
            None => (&*text, None),
        };
        let network: Option<IpAddr> = network.parse().ok();
        let all = if network.is_some_and(|ip| ip.is_ipv4()) { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all));
        match (network, bits) {
            (Some(network), Some(bits)) => Ok(Prefix { network, bits }),
            _ => Err(format!("\"{text}\" is no network such as 10.0.0.0/8")),
        }
    }
}

impl NetworkDescription {
    /// The network. What is wrong is told with its place below `network` in the JSON.
    pub(super) fn made(self, json: &Json) -> Result<Network, Failure> {
        let mut network = Network::default();
        for (i, device) in self.devices.iter().enumerate() {
            let same = |other: &DeviceDescription| other.ifindex == device.ifindex;
            let at = |what: &str| format!("network.devices[{i}].{what}");
            if device.ifindex == 0 {
                return Err(json.wrong(&at("ifindex"), "devices have numbers from 1"));
            }
            if self.devices[..i].iter().any(same) {
                return Err(json.wrong(&at("ifindex"), "another device has this number"));
            }
            let made = device.made();
            match network.devices.iter_mut().find(|known| known.ifindex == made.ifindex) {
                Some(known) => *known = made,
                None => network.devices.push(made),
            }
        }
        let known = |network: &Network, ifindex: u32, at: String| match network.device(ifindex) {
            Some(_) => Ok(()),
            None => {
                let all: Vec<String> =
                    network.devices.iter().map(|device| device.ifindex.to_string()).collect();
                let all = all.join(", ");
                Err(json.wrong(&at, format!("there is no device {ifindex}; there are {all}")))
            }
        };
        for (i, route) in self.routes.iter().enumerate() {
            known(&network, route.ifindex, format!("network.routes[{i}].ifindex"))?;
            if route.via.is_some_and(|via| via.is_ipv4() != route.to.network.is_ipv4()) {
                let problem = "it is of another IP version than the network";
                return Err(json.wrong(&format!("network.routes[{i}].via"), problem));
            }
            network.routes.push(route.made());
        }
        for (i, neighbour) in self.neighbours.iter().enumerate() {
            known(&network, neighbour.ifindex, format!("network.neighbours[{i}].ifindex"))?;
            let NeighbourDescription { ifindex, address, mac } = *neighbour;
            network.neighbours.push(Neighbour { ifindex, address, mac: mac.0 });
        }
        // As of `ip rule`: local addresses come before all.
        let rules = self.rules.iter().map(RuleDescription::made);
        network.rules.splice(1..1, rules);
        Ok(network)
    }
}

impl DeviceDescription {
    fn made(&self) -> Device {
        let quiet = match self.ifindex {
            1 => Device::loopback(),
            ifindex => Device::new(ifindex),
        };
        let forwards = self.forwards.unwrap_or(false);
        Device {
            ifindex: self.ifindex,
            mac: self.mac.map_or(quiet.mac, |mac| mac.0),
            mtu: self.mtu.unwrap_or(quiet.mtu),
            up: self.up.unwrap_or(quiet.up),
            forwards_ipv4: self.forwards_ipv4.unwrap_or(forwards),
            forwards_ipv6: self.forwards_ipv6.unwrap_or(forwards),
            rx_queues: self.rx_queues.unwrap_or(quiet.rx_queues),
            addresses: self.addresses.clone(),
        }
    }
}

impl RouteDescription {
    fn made(&self) -> Route {
        let route = Route::new(self.to.network, self.to.bits, self.ifindex);
        Route {
            table: self.table.unwrap_or(route.table),
            kind: self.kind.into(),
            gateway: self.via,
            metric: self.metric,
            source: self.source,
            mtu: self.mtu,
            encapsulates: self.encapsulates,
            ..route
        }
    }
}

impl RuleDescription {
    fn made(&self) -> Rule {
        // A mark alone must be there as it is.
        let mask = self.mask.unwrap_or(if self.mark == 0 { 0 } else { u32::MAX });
        Rule {
            mark: self.mark,
            mask,
            from: self.from.map(|from| (from.network, from.bits)),
            arrives: self.arrives,
            ..Rule::table(self.table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(value: Value) -> Result<Network, String> {
        let json = Json { origin: "world".into(), value };
        let description: NetworkDescription = json.read().map_err(|e| e.to_string())?;
        description.made(&json).map_err(|e| e.to_string())
    }

    #[test]
    fn a_network_is_made_of_its_description() {
        let network = made(json!({
            "devices": [{"ifindex": 2, "mac": "02:00:5e:00:53:01", "forwards": true}],
            "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.1", "ifindex": 2, "kind": "local"}],
            "rules": [{"table": 9, "mark": 5}],
            "neighbours": [{"ifindex": 1, "address": "::1", "mac": "00:00:00:00:00:00"}],
        }))
        .unwrap();
        let device = network.device(2).unwrap();
        assert_eq!((device.mac[0], device.forwards_ipv6, device.mtu), (2, true, 1500));
        assert_eq!((network.device(1).unwrap().mtu, network.routes[0].prefix), (65536, 8));
        assert_eq!(network.routes[0].kind, RouteKind::Local);
        let tables: Vec<u32> = network.rules.iter().map(|rule| rule.table).collect();
        assert_eq!((tables, network.rules[1].mask), (vec![255, 9, 254, 253], u32::MAX));
        assert_eq!(made(json!({})), Ok(Network::default()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (value, expected) in [
            (json!({"devices": [{"mtu": 1}]}), "devices[0]: missing field `ifindex`"),
            (json!({"devices": [{"ifindex": 0}]}), "network.devices[0].ifindex: devices have"),
            (json!({"devices": [{"ifindex": 2}, {"ifindex": 2}]}), "devices[1].ifindex: another"),
            (json!({"devices": [{"ifindex": 2, "mac": "2:0"}]}), "devices[0].mac: \"2:0\" is no"),
            (json!({"routes": [{"to": "10.0.0.0/33", "ifindex": 1}]}), "routes[0].to: "),
            (
                json!({"routes": [{"to": "::/0", "ifindex": 7}]}),
                "there is no device 7; there are 1",
            ),
            (
                json!({"routes": [{"to": "::/0", "ifindex": 1, "via": "10.0.0.1"}]}),
                "routes[0].via: it is of another IP version",
            ),
            (json!({"rules": [{"table": 1, "form": 2}]}), "rules[0].form: unknown field `form`"),
        ] {
            let error = made(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
