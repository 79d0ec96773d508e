//! The context of a run: the cells that `r1` points to, and the packet or memory behind it.

use crate::packet::{Packet, PacketError};
use crate::skb::Skb;
use ebpfvm_spec::context::host_offset;
use ebpfvm_spec::{ContextDef, Field, FieldKind, Platform, ProgType};
use std::sync::{Arc, OnceLock};

/// Why a context cannot be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The bytes cannot be a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The program type cannot be run here.
    #[error("programs of type {0} cannot be run: their context is not available here")]
    NoContext(&'static str),
    /// The context has no such field.
    #[error("{context} has no field {field}; its fields are {known}")]
    NoField {
        /// Name of the context struct.
        context: String,
        /// The name that was asked for.
        field: String,
        /// All that there are.
        known: String,
    },
    /// The field holds an address that the machine sets.
    #[error("{context}.{field} is set by the machine")]
    FieldFixed {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
    },
    /// The value does not fit the field.
    #[error("{context}.{field} takes {bytes} bytes; {value} does not fit")]
    FieldRange {
        /// Name of the context struct.
        context: String,
        /// Name of the field.
        field: String,
        /// Size of the field in bytes.
        bytes: u32,
        /// The value.
        value: u64,
    },
}

/// What is behind a context.
#[derive(Debug)]
enum Behind {
    /// A packet, with the number of first bytes that the program does not see.
    Packet { packet: Packet, hidden: usize },
    /// Plain memory, which `r1` points to directly.
    Memory(Box<[u8]>),
}

/// What a program is run on.
///
/// Field values are in host order, as programs read them.
#[derive(Debug)]
pub struct Context {
    prog_type: ProgType,
    def: Option<Arc<ContextDef>>,
    /// The host's cells, `def.host_bytes()` long.
    cells: Box<[u64]>,
    behind: Behind,
    /// What helpers know of a socket buffer.
    pub(crate) skb: Skb,
}

/// The types whose contexts can be made of a packet.
const PACKET_TYPES: &[ProgType] = &[
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
    ProgType::CgroupSkb,
    ProgType::Xdp,
];

/// Linux's layouts of these types, made once.
pub(crate) fn linux_def(prog_type: ProgType) -> Option<Arc<ContextDef>> {
    static PLATFORM: OnceLock<Vec<(ProgType, Arc<ContextDef>)>> = OnceLock::new();
    let defs = PLATFORM.get_or_init(|| {
        let platform = Platform::linux();
        let with_context = |t: &ProgType| platform.prog_type(*t)?.context.clone();
        PACKET_TYPES.iter().filter_map(|t| Some((*t, Arc::new(with_context(t)?)))).collect()
    });
    defs.iter().find(|(t, _)| *t == prog_type).map(|(_, def)| def.clone())
}

impl Context {
    /// Plain memory: `r1` is its address, `r2` its length. Without memory both are 0.
    pub fn raw(memory: impl Into<Box<[u8]>>) -> Context {
        Context {
            prog_type: ProgType::Raw,
            def: None,
            cells: Box::default(),
            behind: Behind::Memory(memory.into()),
            skb: Skb::default(),
        }
    }

    /// Whether contexts of this program type can be made of a packet.
    pub fn takes_packet(prog_type: ProgType) -> bool {
        PACKET_TYPES.contains(&prog_type)
    }

    /// The context of a packet program of Linux, as the kernel's test-run makes it.
    ///
    /// # Errors
    /// [`ContextError`] if the type takes no packet or the bytes cannot be one.
    pub fn packet(prog_type: ProgType, data: &[u8]) -> Result<Context, ContextError> {
        let def = linux_def(prog_type).ok_or(ContextError::NoContext(prog_type.name()))?;
        let packet = match prog_type {
            ProgType::Xdp => Packet::xdp(data)?,
            _ => Packet::skb(data)?,
        };
        let cells = vec![0; def.host_bytes().div_ceil(8) as usize].into_boxed_slice();
        let behind = Behind::Packet { packet, hidden: 0 };
        let skb = Skb::default();
        let mut context = Context { prog_type, def: Some(def), cells, behind, skb };
        context.init(data);
        Ok(context)
    }

    /// Makes the context as new, with other data of the same or a smaller size.
    ///
    /// # Errors
    /// [`ContextError`] if the bytes cannot be a packet or do not fit the buffer.
    pub fn refill(&mut self, data: &[u8]) -> Result<(), ContextError> {
        match &mut self.behind {
            Behind::Packet { packet, hidden } => {
                packet.refill(data, crate::packet::XDP_HEADROOM_BYTES)?;
                *hidden = 0;
                self.cells.fill(0);
                self.init(data);
            }
            Behind::Memory(memory) => *memory = data.into(),
        }
        Ok(())
    }

    /// Sets the fields as the kernel's test-run does (`net/bpf/test_run.c`, Linux 6.18): the
    /// loopback device, number 1, has received the packet.
    fn init(&mut self, data: &[u8]) {
        const LOOPBACK_IFINDEX: u64 = 1;
        if self.prog_type == ProgType::Xdp {
            self.put("ingress_ifindex", LOOPBACK_IFINDEX);
        } else {
            // Only the classifier sees the Ethernet header.
            let sees_mac = matches!(self.prog_type, ProgType::SchedCls | ProgType::SchedAct);
            if !sees_mac {
                self.hide(crate::packet::MIN_BYTES);
            }
            self.skb = Skb::new(if sees_mac { crate::packet::MIN_BYTES } else { 0 });
            self.put("ifindex", LOOPBACK_IFINDEX);
            self.put("pkt_type", packet_type(&data[..6]));
            self.put("protocol", u64::from(u16::from_ne_bytes(protocol(data))));
            let seen = if sees_mac { data.len() } else { data.len() - crate::packet::MIN_BYTES };
            self.put("wire_len", seen as u64);
        }
        self.sync();
    }

    fn hide(&mut self, bytes: usize) {
        if let Behind::Packet { packet, hidden } = &mut self.behind
            && packet.shift_start(bytes as i32)
        {
            *hidden = bytes;
        }
    }

    /// The program type that the context is for.
    pub fn prog_type(&self) -> ProgType {
        self.prog_type
    }

    /// The layout; none for plain memory.
    pub fn def(&self) -> Option<&ContextDef> {
        self.def.as_deref()
    }

    /// The whole packet, with the header that the program may not see; none for plain memory.
    pub fn packet_data(&self) -> Option<&[u8]> {
        let Behind::Packet { packet, hidden } = &self.behind else { return None };
        Some(packet.data_after(*hidden))
    }

    /// The packet as the program sees it.
    pub fn visible_packet(&self) -> Option<&Packet> {
        match &self.behind {
            Behind::Packet { packet, .. } => Some(packet),
            Behind::Memory(_) => None,
        }
    }

    /// The data as the kernel's test-run gives it back (`bpf_test_finish`, Linux 6.18): of XDP the
    /// metadata before the packet too, and zeros for a header that the program does not see. Plain
    /// memory as it is.
    pub fn data_out(&self) -> Vec<u8> {
        match &self.behind {
            Behind::Packet { packet, .. } if self.prog_type == ProgType::Xdp => {
                packet.data_with_meta().to_vec()
            }
            Behind::Packet { packet, hidden } => [&vec![0; *hidden], packet.data()].concat(),
            Behind::Memory(memory) => memory.to_vec(),
        }
    }

    /// The plain memory; none for a packet.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.behind {
            Behind::Memory(memory) => Some(memory),
            Behind::Packet { .. } => None,
        }
    }

    /// Puts other bytes of the same length into the plain memory, which stays where it is.
    pub(crate) fn set_memory(&mut self, bytes: &[u8]) {
        if let Behind::Memory(memory) = &mut self.behind {
            memory.copy_from_slice(bytes);
        }
    }

    /// Changes the packet and then the fields that depend on it.
    pub fn change_packet<R>(&mut self, change: impl FnOnce(&mut Packet) -> R) -> Option<R> {
        let Behind::Packet { packet, .. } = &mut self.behind else { return None };
        let result = change(packet);
        self.sync();
        Some(result)
    }

    /// Writes the addresses and the length of the packet into their fields.
    fn sync(&mut self) {
        let Behind::Packet { packet, .. } = &mut self.behind else { return };
        let (meta, start, end) = packet.addresses();
        let Some(def) = self.def.clone() else { return };
        for field in def.fields.iter() {
            let (bytes, value) = match field.kind {
                FieldKind::PacketStart => (8, start),
                FieldKind::PacketEnd => (8, end),
                FieldKind::PacketMeta => (8, meta),
                FieldKind::Scalar if field.name == "len" => (4, end - start),
                FieldKind::Scalar | FieldKind::Pointer(_) | FieldKind::PointerOrNull(_) => {
                    continue;
                }
            };
            self.set_cell(host_offset(field.offset, field.offset), bytes, value);
        }
    }

    fn put(&mut self, name: &str, value: u64) {
        if let Some(field) = self.def.as_ref().and_then(|d| d.field(name)) {
            let (at, bytes) = (host_offset(field.offset, field.offset), field.bytes);
            self.set_cell(at, bytes, value);
        }
    }

    /// Where `bytes` bytes at `host` lie in their cell: the cell's index and the shift.
    ///
    /// Accesses are aligned to their size, so none crosses into another cell.
    fn cell(host: u32, bytes: u32) -> (usize, u32) {
        let inside = host % 8;
        let shift = if cfg!(target_endian = "big") { 8 - inside - bytes } else { inside };
        (host as usize / 8, 8 * shift)
    }

    /// Reads `bytes` bytes at an offset of the host's context.
    pub(crate) fn get_cell(&self, host: u32, bytes: u32) -> u64 {
        let (index, shift) = Self::cell(host, bytes);
        self.cells[index] >> shift & mask(bytes)
    }

    /// Writes `bytes` bytes at an offset of the host's context.
    pub(crate) fn set_cell(&mut self, host: u32, bytes: u32, value: u64) {
        let (index, shift) = Self::cell(host, bytes);
        let mask = mask(bytes);
        let cell = &mut self.cells[index];
        *cell = *cell & !(mask << shift) | (value & mask) << shift;
    }

    /// The address that `r1` gets, and what `r2` gets.
    pub(crate) fn registers(&mut self) -> (u64, u64) {
        match &mut self.behind {
            Behind::Packet { .. } => (self.cells.as_mut_ptr() as u64, 0),
            Behind::Memory(memory) if memory.is_empty() => (0, 0),
            Behind::Memory(memory) => (memory.as_mut_ptr() as u64, memory.len() as u64),
        }
    }

    /// The memory that the program may access directly: its address and length.
    pub(crate) fn window(&mut self) -> (u64, u64) {
        match &mut self.behind {
            Behind::Packet { packet, .. } => {
                let (meta, _, end) = packet.addresses();
                (meta, end - meta)
            }
            Behind::Memory(memory) => (memory.as_mut_ptr() as u64, memory.len() as u64),
        }
    }

    /// Whether programs may write to the packet directly (`*_is_valid_access` and
    /// `bpf_helper_changes_pkt_data`, Linux 6.18).
    pub(crate) fn window_writable(&self) -> bool {
        matches!(
            self.prog_type,
            ProgType::Raw | ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct
        )
    }

    /// Sets a field, by name; `cb[1]` names an element of an array of 4-byte numbers.
    ///
    /// # Errors
    /// [`ContextError`] if there is no such field, the machine sets it, or the value is too large.
    pub fn set_field(&mut self, name: &str, value: u64) -> Result<(), ContextError> {
        let (kind, host, bytes) = self.locate(name)?;
        if kind != FieldKind::Scalar {
            let context = self.context_name();
            return Err(ContextError::FieldFixed { context, field: name.into() });
        }
        if value & !mask(bytes) != 0 {
            let context = self.context_name();
            return Err(ContextError::FieldRange { context, field: name.into(), bytes, value });
        }
        self.set_cell(host, bytes, value);
        Ok(())
    }

    /// The value of a field, by name as in [`Context::set_field`]; an address is the host's.
    ///
    /// # Errors
    /// [`ContextError`] if there is no such field.
    pub fn field(&self, name: &str) -> Result<u64, ContextError> {
        let (kind, host, bytes) = self.locate(name)?;
        Ok(self.get_cell(host, if kind == FieldKind::Scalar { bytes } else { 8 }))
    }

    /// All numbers of the context in order: name (`cb[0]` for an element) and value.
    pub fn fields(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for field in self.def.iter().flat_map(|d| d.fields.iter()) {
            if field.kind != FieldKind::Scalar {
                continue;
            }
            let host = host_offset(field.offset, field.offset);
            if is_array(field) {
                let unit = field.unit;
                let element = |i| self.get_cell(host + unit * i, unit);
                let named = |i| (format!("{}[{i}]", field.name), element(i));
                all.extend((0..field.bytes / unit).map(named));
            } else {
                all.push((field.name.to_string(), self.get_cell(host, field.bytes)));
            }
        }
        all
    }

    /// Kind, host offset and size of a field or element.
    fn locate(&self, name: &str) -> Result<(FieldKind, u32, u32), ContextError> {
        let (base, index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((base, index)) => (base, index.parse().ok()),
            None => (name, Some(0u32)),
        };
        let field = self.def.as_ref().and_then(|d| d.field(base));
        if let (Some(field), Some(index)) = (field, index) {
            let host = host_offset(field.offset, field.offset);
            let element = field.unit;
            if index < field.bytes / element {
                return Ok((field.kind, host + index * element, element));
            }
        }
        let known: Vec<String> = self.fields().into_iter().map(|(name, _)| name).collect();
        Err(ContextError::NoField {
            context: self.context_name(),
            field: name.into(),
            known: if known.is_empty() { "none".into() } else { known.join(", ") },
        })
    }

    fn context_name(&self) -> String {
        self.def.as_ref().map_or("raw memory".into(), |d| d.name.to_string())
    }
}

/// Whether a field is an array of 4-byte numbers.
fn is_array(field: &Field) -> bool {
    field.bytes > field.unit
}

/// The low `bytes` bytes.
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// The protocol behind an Ethernet header, in network order (`eth_type_trans`). A field below 0x600
/// is a length, and what the packet is must be told from what follows.
fn protocol(data: &[u8]) -> [u8; 2] {
    const FIRST_TYPE: [u8; 2] = 0x0600_u16.to_be_bytes();
    const ETH_P_802_3: u16 = 1;
    const ETH_P_802_2: u16 = 4;
    match (data[12], data.get(14..16)) {
        (first, _) if first >= FIRST_TYPE[0] => [data[12], data[13]],
        (_, Some([0xff, 0xff])) => ETH_P_802_3.to_be_bytes(),
        _ => ETH_P_802_2.to_be_bytes(),
    }
}

/// `PACKET_*` as `eth_type_trans` finds it on the loopback device, whose address is zero. So is its
/// broadcast address, which makes every broadcast a multicast.
fn packet_type(destination: &[u8]) -> u64 {
    const HOST: u64 = 0;
    const MULTICAST: u64 = 2;
    const OTHER_HOST: u64 = 3;
    match destination {
        [0, 0, 0, 0, 0, 0] => HOST,
        [first, ..] if first & 1 == 1 => MULTICAST,
        _ => OTHER_HOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_what_the_kernel_makes_of_the_frame() {
        let mut frame = [0; 20];
        let mut protocol = |at_12: [u8; 2], at_14: [u8; 2]| {
            frame[12..14].copy_from_slice(&at_12);
            frame[14..16].copy_from_slice(&at_14);
            let context = Context::packet(ProgType::SchedCls, &frame).unwrap();
            (context.field("protocol").unwrap() as u16).to_ne_bytes()
        };
        assert_eq!(protocol([0x08, 0x06], [0, 0]), [0x08, 0x06]);
        assert_eq!(protocol([0x06, 0x00], [0xff, 0xff]), [0x06, 0x00]);
        assert_eq!(protocol([0x05, 0xff], [0xaa, 0xaa]), [0, 4]);
        assert_eq!(protocol([0, 40], [0xff, 0xff]), [0, 1]);
        let bare = Context::packet(ProgType::SchedCls, &frame[..14]).unwrap();
        assert_eq!((bare.field("protocol").unwrap() as u16).to_ne_bytes(), [0, 4]);
    }

    #[test]
    fn the_packet_type_is_the_loopback_devices() {
        let packet_type = |first, other| {
            let mut frame = [other; 14];
            frame[0] = first;
            Context::packet(ProgType::SchedCls, &frame).unwrap().field("pkt_type").unwrap()
        };
        let found =
            [packet_type(0, 0), packet_type(2, 0), packet_type(1, 0), packet_type(255, 255)];
        assert_eq!(found, [0, 3, 2, 2]);
    }

    #[test]
    fn the_wire_length_counts_what_the_program_sees() {
        let wire_len = |prog_type| {
            let context = Context::packet(prog_type, &[0; 60]).unwrap();
            context.field("wire_len").unwrap()
        };
        assert_eq!(wire_len(ProgType::SchedCls), 60);
        assert_eq!(wire_len(ProgType::CgroupSkb), 46);
    }
}
