//! Specifications of graphics cards, from their makers' datasheets. Peaks are for dense matrices.

use crate::device::gpu_name;
use crate::recipe::Precision;
use tch::Device;

/// One kind of card, and the node it usually comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    pub name: &'static str,
    /// Words of the driver's name for the card. A card is of the first listed kind whose words all occur in its name.
    pub words: &'static [&'static str],
    /// Peak operations per second of matrix products in bf16, in f32 with TF32, and in f32.
    pub bf16: f64,
    pub tf32: f64,
    pub f32: f64,
    /// Bytes of memory that a process can use.
    pub memory: i64,
    /// Memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// Bytes per second from card to card inside a node, in one direction.
    pub link: f64,
    /// Bytes per second out of a node, over all its network cards.
    pub network: f64,
    /// Cards per node.
    pub of_node: usize,
}

const T: f64 = 1e12;
const G: f64 = 1e9;
const GIB: i64 = 1 << 30;

/// All known kinds. If two kinds share words, the more specific one comes first.
pub const DEVICES: [Gpu; 11] = [
    // NVIDIA A100 Tensor Core GPU datasheet (2021): 312, 156, 19.5 TFLOP/s; 1,555 and 2,039 GB/s; NVLink 600 GB/s both
    // ways. Nodes as AWS p4d and p4de: 8 cards, 400 Gb/s.
    Gpu {
        name: "a100-40gb",
        words: &["A100", "40GB"],
        bf16: 312.0 * T,
        tf32: 156.0 * T,
        f32: 19.5 * T,
        memory: 39 * GIB,
        bandwidth: 1555.0 * G,
        link: 300.0 * G,
        network: 50.0 * G,
        of_node: 8,
    },
    Gpu {
        name: "a100-80gb",
        words: &["A100", "80GB"],
        bf16: 312.0 * T,
        tf32: 156.0 * T,
        f32: 19.5 * T,
        memory: 79 * GIB,
        bandwidth: 2039.0 * G,
        link: 300.0 * G,
        network: 50.0 * G,
        of_node: 8,
    },
    // NVIDIA H100 datasheet (2023), half of the figures "with sparsity". PCIe: 128 GB/s both ways, 100 Gb/s per node.
    Gpu {
        name: "h100-pcie",
        words: &["H100", "PCIe"],
        bf16: 756.0 * T,
        tf32: 378.0 * T,
        f32: 51.0 * T,
        memory: 79 * GIB,
        bandwidth: 2000.0 * G,
        link: 64.0 * G,
        network: 12.5 * G,
        of_node: 8,
    },
    // The same datasheet, SXM: 3.35 TB/s, NVLink 900 GB/s both ways. Nodes as AWS p5: 8 cards, 3,200 Gb/s.
    Gpu {
        name: "h100-80gb",
        words: &["H100"],
        bf16: 989.0 * T,
        tf32: 494.0 * T,
        f32: 67.0 * T,
        memory: 79 * GIB,
        bandwidth: 3350.0 * G,
        link: 450.0 * G,
        network: 400.0 * G,
        of_node: 8,
    },
    // NVIDIA H200 datasheet (2024): compute as the H100, 141 GB at 4.8 TB/s. Nodes as AWS p5en.
    Gpu {
        name: "h200",
        words: &["H200"],
        bf16: 989.0 * T,
        tf32: 494.0 * T,
        f32: 67.0 * T,
        memory: 139 * GIB,
        bandwidth: 4800.0 * G,
        link: 450.0 * G,
        network: 400.0 * G,
        of_node: 8,
    },
    // NVIDIA V100 datasheet (2020), SXM2: 15.7 TFLOP/s, no units for bf16 or TF32. Nodes as AWS p3dn: 100 Gb/s.
    Gpu {
        name: "v100-32gb",
        words: &["V100", "32GB"],
        bf16: 15.7 * T,
        tf32: 15.7 * T,
        f32: 15.7 * T,
        memory: 31 * GIB,
        bandwidth: 900.0 * G,
        link: 150.0 * G,
        network: 12.5 * G,
        of_node: 8,
    },
    // NVIDIA L4 datasheet (2023), half of the figures "with sparsity"; PCIe 4.0 x16. Nodes as AWS g6.48xlarge: 100 Gb/s.
    Gpu {
        name: "l4",
        words: &["L4"],
        bf16: 121.0 * T,
        tf32: 60.0 * T,
        f32: 30.3 * T,
        memory: 22 * GIB,
        bandwidth: 300.0 * G,
        link: 32.0 * G,
        network: 12.5 * G,
        of_node: 8,
    },
    // NVIDIA Ada architecture whitepaper (2022): bf16 with f32 accumulation. PCIe 4.0 x16 through the host, which
    // halves it; 10 Gb/s between desktop machines.
    Gpu {
        name: "rtx-4090",
        words: &["4090"],
        bf16: 165.2 * T,
        tf32: 82.6 * T,
        f32: 82.6 * T,
        memory: 23 * GIB,
        bandwidth: 1008.0 * G,
        link: 16.0 * G,
        network: 1.25 * G,
        of_node: 1,
    },
    // NVIDIA Ampere GA102 whitepaper (2021): 71 TFLOP/s in bf16 with f32 accumulation.
    Gpu {
        name: "rtx-3090",
        words: &["3090"],
        bf16: 71.0 * T,
        tf32: 35.6 * T,
        f32: 35.6 * T,
        memory: 23 * GIB,
        bandwidth: 936.0 * G,
        link: 16.0 * G,
        network: 1.25 * G,
        of_node: 1,
    },
    // NVIDIA T4 datasheet (2019): 8.1 TFLOP/s, no units for bf16 or TF32. PCIe 3.0 x16.
    Gpu {
        name: "t4",
        words: &["T4"],
        bf16: 8.1 * T,
        tf32: 8.1 * T,
        f32: 8.1 * T,
        memory: 14 * GIB,
        bandwidth: 320.0 * G,
        link: 16.0 * G,
        network: 6.25 * G,
        of_node: 4,
    },
    // Two cores with AVX2 at 3 GHz, for comparison: 2 units x 8 numbers x 2 operations; 16 GB of DDR4. No driver
    // reports this name.
    Gpu {
        name: "cpu",
        words: &[],
        bf16: 0.19 * T,
        tf32: 0.19 * T,
        f32: 0.19 * T,
        memory: 15 * GIB,
        bandwidth: 40.0 * G,
        link: 10.0 * G,
        network: 0.125 * G,
        of_node: 1,
    },
];

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static Gpu> {
    DEVICES.iter().find(|gpu| gpu.name == name.to_lowercase())
}

/// The kind of a card from the driver's full name, such as `NVIDIA A100-SXM4-80GB`.
pub fn recognise(full: &str) -> Option<&'static Gpu> {
    let has = |word: &&str| {
        full.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part.eq_ignore_ascii_case(word))
    };
    DEVICES.iter().find(|gpu| !gpu.words.is_empty() && gpu.words.iter().all(&has))
}

/// The kind of the card behind a device. None for a CPU and for unlisted kinds.
pub fn find_card(device: Device) -> Option<&'static Gpu> {
    match device {
        Device::Cuda(number) => recognise(&gpu_name(number)?),
        _ => None,
    }
}

impl Gpu {
    /// Peak operations per second of matrix products in bf16, or in f32 with TF32 on or off.
    pub fn peak(&self, bf16: bool, tf32: bool) -> f64 {
        match (bf16, tf32) {
            (true, _) => self.bf16,
            (false, true) => self.tf32,
            (false, false) => self.f32,
        }
    }

    /// Peak operations per second at a config's precision.
    pub fn peak_of(&self, precision: &Precision) -> f64 {
        self.peak(precision.bf16, precision.tf32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_driver_are_recognised() {
        let name = |full| recognise(full).map(|gpu| gpu.name);
        for (full, kind) in [
            ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
            ("NVIDIA A100 80GB PCIe", "a100-80gb"),
            ("A100-SXM4-40GB", "a100-40gb"),
            ("NVIDIA H100 80GB HBM3", "h100-80gb"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H200", "h200"),
            ("Tesla V100-SXM2-32GB", "v100-32gb"),
            ("NVIDIA L4", "l4"),
            ("Tesla T4", "t4"),
            ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ] {
            assert_eq!(name(full), Some(kind), "{full}");
        }
        for unknown in ["NVIDIA L40S", "NVIDIA GeForce GTX 1080", "Tesla V100-SXM2-16GB", ""] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
        assert_eq!(find("H200").map(|gpu| gpu.name), Some("h200"));
    }
}
