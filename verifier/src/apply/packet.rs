//! Comparisons of packet pointers with the end (`try_match_pkt_pointers`).
