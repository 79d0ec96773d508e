//! What the kernel tells from an Ethernet frame that arrives (`net/ethernet/eth.c`).

/// The protocol behind an Ethernet header, in network order (`eth_type_trans`). A field below 0x600
/// is a length, and what the packet is must be told from what follows.
pub(super) fn protocol(data: &[u8]) -> [u8; 2] {
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
pub(super) fn packet_type(destination: &[u8]) -> u64 {
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
    use crate::Context;
    use ebpfvm_spec::ProgType;

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
