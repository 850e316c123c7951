//! Compiles TensorFlow Lite Micro and the shim from a source tree that is already on this machine.
//!
//! The tree is the one inside the crate `tfmicro` (default), or upstream's checkout named by `TFLM_DIR`; with
//! `CMSIS_NN_DIR` Arm's kernels are used where they exist, and where `TFLM_DIR` is Espressif's tree its ESP-NN kernels
//! on Xtensa. `TFLM_OPS` (comma-separated operator names) limits which kernels are compiled at all; the linker drops
//! unused ones in any case. `TFLM_SANITIZE=address` instruments the C++.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use sha2::{Digest, Sha256};

include!("ops.rs");
include!("tree.rs");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=ops.rs");
    println!("cargo::rerun-if-changed=tree.rs");
    println!("cargo::rerun-if-changed=shim");
    let tree = Tree::find();
    let out = PathBuf::from(variable("OUT_DIR"));
    let ops = chosen_ops(&tree);
    write(&out.join("tflm_ops.inc"), &shim_functions(&tree, &ops));
    write(&out.join("ops.rs"), &rust_constants(&ops));
    let (interpreter, slot) = object_bytes(tree.revision);
    write(
        &out.join("sizes.rs"),
        &format!(
            "/// Bytes that hold TFLM's interpreter object.\npub const INTERPRETER_BYTES: usize = {interpreter};\n\
             /// Bytes that hold one kernel's registration.\npub const SLOT_BYTES: usize = {slot};\n"
        ),
    );
    let files = tree.files(&ops);
    compile(&tree, &files, &out);
    println!("cargo::rustc-env=TFLM_REVISION={}", tree.revision.name());
    println!("cargo::rustc-env=TFLM_KERNELS={}", tree.kernels());
    println!("cargo::rustc-env=TFLM_SOURCES_SHA256={}", digest(&tree, &files));
}

/// Operators whose kernels are compiled: all that the tree has, or those in `TFLM_OPS`.
fn chosen_ops(tree: &Tree) -> Vec<&'static Row> {
    let available = |row: &&Row| tree.revision == Revision::Upstream || row.4;
    let Some(wanted) = optional("TFLM_OPS") else {
        return OPS.iter().filter(available).collect();
    };
    let wanted: BTreeSet<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    for name in &wanted {
        match OPS.iter().find(|row| row.0 == *name) {
            None => fail(&format!("TFLM_OPS names {name}, which is no operator with an integer kernel in TFLM")),
            Some(row) if !available(&row) => fail(&format!(
                "the model uses {name}, and TFLM as the crate tfmicro carries it (July 2020) has no integer kernel for \
                 it. Two ways out: set TFLM_DIR to an upstream checkout (`f2f firmware sources` fetches one), or \
                 change the model so that it does without {name}"
            )),
            Some(_) => {}
        }
    }
    OPS.iter().filter(|row| wanted.contains(row.0)).collect()
}

/// `tflm_op_*`: fills one slot with the registration and the parser of one kernel.
fn shim_functions(tree: &Tree, ops: &[&Row]) -> String {
    let mut text = String::new();
    for (name, code, method, _, _) in ops {
        let function = format!("tflm_op_{}", name.to_lowercase());
        let body = match tree.revision {
            Revision::Registry => format!(
                "slot->registration = *tflite::ops::micro::Register_{name}();\n  \
                 slot->registration.builtin_code = tflite::BuiltinOperator_{name};\n  \
                 slot->parser = tflite::ParseOpData;"
            ),
            // A resolver of one knows both; nothing of it is left after inlining.
            Revision::Upstream => format!(
                "tflite::MicroMutableOpResolver<1> one;\n  one.{method}();\n  \
                 slot->registration = *one.FindOp(tflite::BuiltinOperator_{name});\n  \
                 slot->parser = one.GetOpDataParser(tflite::BuiltinOperator_{name});"
            ),
        };
        let _ = writeln!(
            text,
            "static_assert(tflite::BuiltinOperator_{name} == {code}, \"schema\");\n\
             void {function}(tflm_slot* slot) {{\n  {body}\n}}"
        );
    }
    text
}

/// The same operators as constants of `tflm_sys::ops`.
fn rust_constants(ops: &[&Row]) -> String {
    let mut text = String::from("unsafe extern \"C\" {\n");
    for (name, ..) in ops {
        let _ = writeln!(text, "    fn tflm_op_{}(slot: *mut super::Slot);", name.to_lowercase());
    }
    text.push_str("}\n");
    for (name, code, ..) in ops {
        let function = format!("tflm_op_{}", name.to_lowercase());
        let _ = writeln!(
            text,
            "/// The kernel of {name}.\npub const {name}: super::Op = super::Op {{ fill: {function}, code: {code} }};"
        );
    }
    text
}

/// Bytes of the interpreter object and of a slot; the C++ compiler checks both (`static_assert` in the shim).
fn object_bytes(revision: Revision) -> (usize, usize) {
    match (variable("CARGO_CFG_TARGET_POINTER_WIDTH").as_str(), revision) {
        ("32", Revision::Registry) => (168, 36),
        ("32", Revision::Upstream) => (224, 32),
        (_, Revision::Registry) => (328, 72),
        (_, Revision::Upstream) => (432, 64),
    }
}

fn compile(tree: &Tree, files: &[PathBuf], out: &Path) {
    let hosted = variable("CARGO_CFG_TARGET_OS") != "none";
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .cpp_link_stdlib(None)
        .warnings(false)
        .std(if tree.revision == Revision::Upstream { "c++17" } else { "c++11" })
        .opt_level(2)
        .include("shim")
        .include(out)
        .includes(tree.includes())
        .define("TF_LITE_STATIC_MEMORY", None)
        // The tree of 2020 needs it for more than speed: its ADD has an assertion that zero point -128 breaks.
        .define("NDEBUG", None)
        .define("TF_LITE_DISABLE_X86_NEON", None);
    for flag in [
        "-fno-rtti",
        "-fno-exceptions",
        "-fno-threadsafe-statics",
        "-ffunction-sections",
        "-fdata-sections",
        "-fno-unwind-tables",
        "-fno-asynchronous-unwind-tables",
        "-fmessage-length=0",
        "-w",
    ] {
        build.flag(flag);
    }
    // Where the sources lie must not be in the image: two machines shall build the same bytes.
    for (from, to) in
        [(tree.root.as_path(), "tflm"), (out, "out"), (Path::new(&variable("CARGO_MANIFEST_DIR")), "shim")]
    {
        build.flag(format!("-ffile-prefix-map={}={to}", from.display()));
    }
    if tree.revision == Revision::Registry {
        build.define("TFLM_REGISTRY", None).define("GEMMLOWP_ALLOW_SLOW_SCALAR_FALLBACK", None);
    }
    if hosted {
        build.define("TFLM_HOSTED", None).flag("-fPIC");
    } else {
        build.flag("-fno-use-cxa-atexit");
        target_flags(&mut build, "-O2");
    }
    let (interpreter, slot) = object_bytes(tree.revision);
    build
        .define("TF_LITE_MCU_DEBUG_LOG", None)
        .define("TFLM_INTERPRETER_BYTES", interpreter.to_string().as_str())
        .define("TFLM_SLOT_BYTES", slot.to_string().as_str());
    if optional("TFLM_SANITIZE").as_deref() == Some("address") {
        build.flag("-fsanitize=address").flag("-g").flag("-fno-omit-frame-pointer");
    }
    if tree.cmsis_nn.is_some() {
        build.define("CMSIS_NN", None);
    }
    if tree.esp_nn {
        build.define("ESP_NN", None);
    }
    build.file("shim/tflm_shim.cc");
    let (c, cpp): (Vec<_>, Vec<_>) =
        files.iter().partition(|file| file.extension().is_some_and(|e| e == "c" || e == "S"));
    build.files(&cpp);
    build.compile("tflm");
    if !c.is_empty() {
        let mut kernels = cc::Build::new();
        kernels.warnings(false).opt_level(3).includes(tree.includes()).define("NDEBUG", None);
        for flag in ["-ffunction-sections", "-fdata-sections", "-w"] {
            kernels.flag(flag);
        }
        kernels.flag(format!("-ffile-prefix-map={}=nn", tree.root.display()));
        kernels.flag(format!("-ffile-prefix-map={}=shim", variable("CARGO_MANIFEST_DIR")));
        if let Some(cmsis) = &tree.cmsis_nn {
            kernels.flag(format!("-ffile-prefix-map={}=cmsis_nn", cmsis.display()));
        }
        if !hosted {
            target_flags(&mut kernels, "-O3");
        }
        kernels.files(c).compile("tflm_nn");
    }
    if hosted {
        println!("cargo::rustc-link-lib=m");
    } else {
        link_c_library(&build);
    }
}

/// The processor for which Rust compiles (`-C target-cpu`) is the one for which GCC must. Nothing of `cc`'s own flags:
/// it derives `-march` from the target triple, which would switch off what a Cortex-M55 has beyond `thumbv8m.main`.
fn target_flags(build: &mut cc::Build, optimize: &str) {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let cpu = flags
        .split('\u{1f}')
        .find_map(|flag| flag.strip_prefix("-Ctarget-cpu=").or_else(|| flag.strip_prefix("target-cpu=")));
    let more: &[&str] = match cpu {
        Some("cortex-m4") => &["-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
        Some("cortex-m7") => &["-mthumb", "-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"],
        // Without conditional execution: Debian's assembler (2.40) takes a conditional `vcvtne` for MVE's `vcvtn`.
        Some("cortex-m55") => &[
            "-mthumb",
            "-mcpu=cortex-m55",
            "-mfloat-abi=hard",
            "-mfpu=auto",
            "-fno-if-conversion",
            "-fno-if-conversion2",
        ],
        _ if variable("CARGO_CFG_TARGET_ARCH") == "xtensa" => &["-mlongcalls"],
        other => fail(&format!(
            "no GCC flags are known for the processor {}: set -Ctarget-cpu to cortex-m4, cortex-m7 or cortex-m55, or \
             add a line to target_flags in tflm-sys/build.rs",
            other.unwrap_or("(none: RUSTFLAGS has no -Ctarget-cpu)")
        )),
    };
    build.no_default_flags(true);
    // -g1: lines for debugging, which are in the ELF only and do not change the code.
    for flag in [optimize, "-g1", "-fno-short-enums", "-fno-common"].iter().chain(more) {
        build.flag(flag);
    }
}

/// newlib's libc and libm and GCC's runtime for exactly this processor: GCC knows where they are.
fn link_c_library(build: &cc::Build) {
    let compiler = build.get_compiler();
    for library in ["libc.a", "libm.a", "libgcc.a"] {
        let mut command = compiler.to_command();
        let answer = command.arg(format!("-print-file-name={library}")).output();
        let path = answer.ok().and_then(|answer| String::from_utf8(answer.stdout).ok()).unwrap_or_default();
        match Path::new(path.trim()).parent().filter(|folder| folder.is_absolute()) {
            Some(folder) => println!("cargo::rustc-link-search=native={}", folder.display()),
            None => fail(&format!(
                "{} has no {library} for this processor; on Debian: apt-get install libnewlib-arm-none-eabi \
                 libstdc++-arm-none-eabi-newlib",
                compiler.path().display()
            )),
        }
    }
    for library in ["m", "c", "gcc"] {
        println!("cargo::rustc-link-lib=static={library}");
    }
}

/// SHA-256 over every compiled source, by name and content: which code is inside, whatever the tree calls itself.
fn digest(tree: &Tree, files: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        let name = tree.name_of(file);
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(fs::read(file).unwrap_or_else(|error| fail(&format!("cannot read {}: {error}", file.display()))));
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| fail(&format!("cannot write {}: {error}", path.display())));
}

fn optional(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Ends the build with one sentence and no backtrace.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
