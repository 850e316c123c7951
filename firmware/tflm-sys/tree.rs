#[derive(Clone, Copy, PartialEq, Eq)]
enum Revision {
    Registry,
    Upstream,
}

impl Revision {
    fn name(self) -> &'static str {
        match self {
            Revision::Registry => "registry",
            Revision::Upstream => "upstream",
        }
    }
}

/// A TFLM source tree: `root` holds the folder `tensorflow`.
struct Tree {
    revision: Revision,
    root: PathBuf,
    third_party: PathBuf,
    cmsis_nn: Option<PathBuf>,
    esp_nn: bool,
}

impl Tree {
    fn find() -> Tree {
        let cmsis_nn = optional("CMSIS_NN_DIR").map(PathBuf::from);
        let Some(root) = optional("TFLM_DIR").map(PathBuf::from) else {
            if cmsis_nn.is_some() {
                fail(
                    "CMSIS_NN_DIR needs TFLM_DIR too: the registry crate's TFLM of 2020 does not fit today's CMSIS-NN",
                );
            }
            return Tree::from_registry();
        };
        if !root.join("tensorflow/lite/micro/micro_interpreter.h").is_file() {
            fail(&format!(
                "TFLM_DIR={} is no checkout of tflite-micro (no tensorflow/lite/micro/micro_interpreter.h in it)",
                root.display()
            ));
        }
        if let Some(cmsis) = cmsis_nn.as_ref().filter(|dir| !dir.join("Include/arm_nnfunctions.h").is_file()) {
            fail(&format!("CMSIS_NN_DIR={} has no Include/arm_nnfunctions.h", cmsis.display()));
        }
        if cmsis_nn.is_some() && variable("CARGO_CFG_TARGET_ARCH") != "arm" {
            fail("CMSIS_NN_DIR is set, but the target is no Arm processor");
        }
        // Upstream's own make puts them below itself, Espressif's tree carries them, `f2f firmware sources` beside it.
        let third_party = ["tensorflow/lite/micro/tools/make/downloads", "third_party", ".."]
            .iter()
            .map(|place| root.join(place))
            .find(|place| ["flatbuffers", "gemmlowp", "ruy"].iter().all(|name| place.join(name).is_dir()))
            .unwrap_or_else(|| {
                fail(&format!(
                    "beside TFLM_DIR={} there are no folders flatbuffers, gemmlowp and ruy; `f2f firmware sources` \
                     fetches all of them",
                    root.display()
                ))
            });
        let esp_nn =
            root.join("tensorflow/lite/micro/kernels/esp_nn").is_dir() && variable("CARGO_CFG_TARGET_ARCH") == "xtensa";
        Tree { revision: Revision::Upstream, root, third_party, cmsis_nn, esp_nn }
    }

    /// The sources inside the crate `tfmicro`, wherever cargo has put it.
    fn from_registry() -> Tree {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        // No network: the answer comes from what `cargo fetch` left.
        let answer = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--offline", "--locked", "--manifest-path"])
            .arg(&manifest)
            .output()
            .unwrap_or_else(|error| fail(&format!("cannot run cargo metadata: {error}")));
        let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        let packages = metadata.get("packages").and_then(|packages| packages.as_array());
        let is_tfmicro = |package: &&serde_json::Value| package.get("name").is_some_and(|name| name == "tfmicro");
        let found = packages
            .and_then(|packages| packages.iter().find(is_tfmicro))
            .and_then(|package| package.get("manifest_path"))
            .and_then(|path| path.as_str());
        let Some(found) = found else {
            fail(&format!(
                "the sources of TFLM (crate tfmicro) are not on this machine: run `cargo fetch --locked` in firmware/ \
                 once, or set TFLM_DIR. cargo said: {}",
                String::from_utf8_lossy(&answer.stderr).lines().next().unwrap_or_default()
            ))
        };
        let root = Path::new(found).with_file_name("submodules/tensorflow");
        let third_party = root.join("tensorflow/lite/micro/tools/make/downloads");
        Tree { revision: Revision::Registry, root, third_party, cmsis_nn: None, esp_nn: false }
    }

    fn kernels(&self) -> &'static str {
        match (&self.cmsis_nn, self.esp_nn) {
            (Some(_), _) => "cmsis-nn",
            (None, true) => "esp-nn",
            (None, false) => "reference",
        }
    }

    fn includes(&self) -> Vec<PathBuf> {
        let mut found = vec![
            self.root.clone(),
            self.third_party.clone(),
            self.third_party.join("gemmlowp"),
            self.third_party.join("flatbuffers/include"),
            self.third_party.join("ruy"),
        ];
        if let Some(cmsis) = &self.cmsis_nn {
            // TFLM's kernels include "Include/arm_nnfunctions.h", CMSIS-NN itself "arm_nnfunctions.h".
            found.extend([cmsis.clone(), cmsis.join("Include")]);
        }
        if self.esp_nn {
            found.extend(self.esp_nn_root().map(|root| root.join("include")));
            found.extend(self.esp_nn_root().map(|root| root.join("src/common")));
        }
        found
    }

    fn esp_nn_root(&self) -> Option<PathBuf> {
        [self.root.join("third_party/esp-nn"), self.root.join("../esp-nn")].into_iter().find(|place| place.is_dir())
    }

    /// Every source to compile, sorted: the core, and the kernels of `ops` in their optimised form where there is one.
    fn files(&self, ops: &[&Row]) -> Vec<PathBuf> {
        let lite = self.root.join("tensorflow/lite");
        let mut files = BTreeSet::new();
        let core: &[&str] = match self.revision {
            Revision::Registry => &["micro", "micro/memory_planner", "core/api"],
            Revision::Upstream => {
                &["micro", "micro/memory_planner", "micro/arena_allocator", "micro/tflite_bridge", "core/api"]
            }
        };
        for folder in core {
            files.extend(sources(&lite.join(folder), "cc"));
        }
        let more: &[&str] = match self.revision {
            Revision::Registry => &["c/common.c", "kernels/kernel_util.cc", "kernels/internal/quantization_util.cc"],
            Revision::Upstream => &[
                "core/c/common.cc",
                "kernels/kernel_util.cc",
                "kernels/internal/common.cc",
                "kernels/internal/quantization_util.cc",
                "kernels/internal/portable_tensor_utils.cc",
                "kernels/internal/tensor_ctypes.cc",
                "kernels/internal/tensor_utils.cc",
                "kernels/internal/reference/comparisons.cc",
                "kernels/internal/reference/portable_tensor_utils.cc",
                "micro/kernels/kernel_util.cc",
                "micro/kernels/micro_tensor_utils.cc",
            ],
        };
        files.extend(more.iter().map(|file| lite.join(file)).filter(|file| file.is_file()));
        // What upstream shares with TensorFlow's own converter lies outside `lite`.
        let shared = self.root.join("tensorflow/compiler/mlir/lite");
        let names = ["schema/schema_utils.cc", "core/api/error_reporter.cc"];
        files.extend(names.iter().map(|file| shared.join(file)).filter(|file| file.is_file()));
        let kernels = lite.join("micro/kernels");
        for (_, _, _, source, _) in ops {
            let plain = kernels.join(format!("{source}.cc"));
            let fast = match self.kernels() {
                "cmsis-nn" => Some(kernels.join(format!("cmsis_nn/{source}.cc"))),
                "esp-nn" => Some(kernels.join(format!("esp_nn/{source}.cc"))),
                _ => None,
            };
            files.insert(fast.filter(|file| file.is_file()).unwrap_or(plain));
            files.extend(Some(kernels.join(format!("{source}_common.cc"))).filter(|file| file.is_file()));
        }
        if let Some(cmsis) = &self.cmsis_nn {
            files.extend(below(&cmsis.join("Source"), "c"));
        }
        if let Some(esp) = self.esp_nn_root().filter(|_| self.esp_nn) {
            let kernels = below(&esp.join("src"), "c").into_iter().chain(below(&esp.join("src"), "S"));
            files.extend(kernels.filter(|file| !file.to_string_lossy().contains("esp32p4"))); // RISC-V assembly
        }
        files.into_iter().collect()
    }

    /// A source's name inside its tree.
    fn name_of(&self, file: &Path) -> String {
        let roots = [Some(self.root.clone()), self.cmsis_nn.clone(), self.esp_nn_root()];
        let inside = roots.iter().flatten().find_map(|root| file.strip_prefix(root).ok());
        inside.unwrap_or(file).display().to_string()
    }
}

/// Sources directly in `folder` that are part of TFLM proper: no tests, no helpers of tests, no log of their own, and
/// no floats of CMSIS-NN: an image has integer kernels only.
fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
    const NOT_OURS: [&str; 9] = [
        "_f16.c",
        "_f32.c",
        "_test.cc",
        "test_helper",
        "debug_log.cc",
        "fake_",
        "mock_",
        "recording_",
        "micro_time.cc",
    ];
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("cannot read {}: {error}", folder.display())));
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !NOT_OURS.iter().any(|part| name.contains(part))
        })
        .collect()
}

/// Sources in `folder` and everything below it.
fn below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = sources(folder, extension);
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            found.extend(below(&entry.path(), extension));
        }
    }
    found
}
