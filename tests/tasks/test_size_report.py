"""Where the bytes of an image go: a shortened real map, maps made up line by line, and one that LLD writes here.

No firmware is built. `golden/lld_excerpt.map` has lines of a real image (MPS2 AN386, upstream TFLM with CMSIS-NN) with
most input sections left out and the rest moved together; the totals below were added up from it by hand.
"""

import dataclasses
import pickle
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.boards import Board, find_board, linker_script
from tasks.size_plot import memory_bars, shares
from tasks.size_report import Contributor, MapUnreadable, Region, SizeReport, over_budget, size_report
from tasks.toolchain import MissingTool, find_rustc, rust_environment

EXCERPT = (Path(__file__).parent.parent / "golden" / "lld_excerpt.map").read_text()
AN386, AN547 = find_board("mps2-an386"), find_board("mps3-an547")
RUST, SYS = "/target/qemu_mps-0a4b.qemu_mps.e640-cgu.0.rcgu.o", "/target/libtflm_sys-ee10.rlib"
HEADER = "     VMA      LMA     Size Align Out     In      Symbol"
Piece = tuple[int, int, int, str]  # address, size, alignment, what


def line(address: int, load: int, size: int, align: int, depth: int, what: str) -> str:
    return f"{address:8x} {load:8x} {size:8x} {align:5d} {' ' * depth}{what}"


def section(name: str, address: int, pieces: Sequence[Piece], *, load: int | None = None, align: int = 4) -> list[str]:
    """An output section that ends with its last piece."""
    away = 0 if load is None else load - address
    end = pieces[-1][0] + pieces[-1][1] if pieces else address
    return [
        line(address, address + away, end - address, align, 0, name),
        *(line(at, at + away, size, fit, 8, what) for at, size, fit, what in pieces),
    ]


def lld_map(*sections: list[str]) -> str:
    last = section(".shstrtab", 0, [(0, 0x110, 1, "<internal>:(.shstrtab)")], align=1)
    return "\n".join([HEADER, *(one for lines in sections for one in lines), *last]) + "\n"


def owner(what: str, output: str = ".text") -> tuple[str, str]:
    """Who gets the bytes of one input section."""
    report = size_report(lld_map(section(output, 0x400, [(0x400, 8, 4, what)])), AN386)
    (only,) = report.contributors
    assert only.flash == 8
    return only.name, only.group


def adds_up(report: SizeReport) -> bool:
    """Both ways of counting agree with each other and with the totals."""
    for kind, used in (("flash", report.flash_used), ("ram", report.ram_used)):
        by_owner = sum(getattr(one, kind) for one in report.contributors)
        by_region = sum(region.used for region in report.regions if region.kind == kind)
        if not by_owner == by_region == used:
            return False
    return True


def test_the_excerpt_of_a_real_map_gives_the_totals_that_were_added_up_by_hand() -> None:
    report = size_report(EXCERPT, AN386)
    assert [(one.name, one.size, one.memory, one.kind) for one in report.sections] == [
        (".vector_table", 0x400, "FLASH", "flash"),
        (".text", 0x29D8, "FLASH", "flash"),
        (".rodata", 0x2848, "FLASH", "flash"),
        (".model", 628_256, "FLASH", "flash"),
        (".data", 0x440, "RAM", "both"),
        (".bss", 0x2B0, "RAM", "ram"),
        (".tensor_arena", 354_752, "RAM", "ram"),
    ]
    assert report.regions == (
        Region(name="FLASH", kind="flash", used=651_392, size=4 << 20),
        Region(name="RAM", kind="ram", used=356_544, size=4 << 20),
    )
    assert (report.flash_used, report.ram_used) == (651_392, 356_544)
    assert (report.flash_budget, report.ram_budget) == (4 << 20, 4 << 20)


def test_every_byte_of_the_excerpt_has_the_owner_that_its_lines_name() -> None:
    report = size_report(EXCERPT, AN386)
    found = {one.name: (one.group, one.flash, one.ram) for one in report.contributors}
    assert found == {
        "model weights": ("weights", 628_256, 0),
        "tensor arena": ("arena", 0, 354_752),
        "merged strings": ("strings", 0x3B3 + 0x23DB, 0),
        "merged constants": ("strings", 0x10 + 0x14 + 0x20, 0),
        "vector table": ("vectors", 0x400, 0),
        "crate tflm": ("rust", 0xBB4 + 0x3A + 0x30, 0),
        "crate core": ("rust", 0xB4 + 0x104 + 0x14, 0),
        "crate qemu_mps": ("rust", 8 + 0xEE + 0x248 + 8 + 12 + 8, 8 + 0x1A8),
        "crate cortex_m_rt": ("rust", 0x70 + 6 + 6 + 0x18, 0),
        "Rust literals": ("rust", 0x10 + 0x30 + 0x30, 0),
        "TFLM shim": ("tflm core", 0x30, 0x100),
        "TFLM core flatbuffer_conversions": ("tflm core", 0x9C, 0),
        "TFLM core error_reporter": ("tflm core", 0x20, 0),
        "TFLM core micro_error_reporter": ("tflm core", 0, 8),
        "TFLM core common": ("tflm core", 8, 0),
        "TFLM core memory_helpers": ("tflm core", 0x10, 0),
        "TFLM core micro_allocator": ("tflm core", 4, 0),
        "TFLM kernel add": ("tflm kernels", 8, 0),
        "TFLM kernel conv": ("tflm kernels", 8, 0),
        "TFLM kernel depthwise_conv": ("tflm kernels", 8, 0),
        "TFLM kernel kernel_util": ("tflm kernels", 0x108, 0),
        "TFLM kernel quantization_util": ("tflm kernels", 0x64, 0),
        "CMSIS-NN arm_elementwise_add_s16": ("nn library", 0x3BC, 0),
        "CMSIS-NN arm_elementwise_add_s8": ("nn library", 0x8AC, 0),
        "newlib s_floor": ("c library", 0x108, 0),
        "newlib s_frexp": ("c library", 0x68, 0),
        "newlib s_lib_ver": ("c library", 1, 1),
        "newlib impure": ("c library", 0x430, 0x430),
        "libgcc arm_addsubdf3": ("compiler runtime", 0x378, 0),
        "libgcc arm_muldivdf3": ("compiler runtime", 0x424, 0),
        "padding": ("padding", 21, 7 + 16),
    }
    assert adds_up(report)


def test_contributors_come_largest_first_and_the_report_survives_storage_unchanged() -> None:
    report = size_report(EXCERPT, AN386, stack_bytes=8192)
    sizes = [one.flash + one.ram for one in report.contributors]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0
    assert (
        SizeReport.model_validate_json(report.model_dump_json())
        == report
        == size_report(EXCERPT, AN386, stack_bytes=8192)
    )
    with pytest.raises(ValidationError):
        report.flash_used = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Contributor(name="x", group="rust", flash=1, ram=0, rom=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("section_name", "name"),
    [
        (".text._ZN4core3fmt5Write10write_char17h5021fa50aa37dcacE", "crate core"),
        (".text._ZN44_$LT$$RF$T$u20$as$u20$core..fmt..Display$GT$3fmt17h65ddf7e2469b3581E", "crate core"),
        (".text._ZN56_$LT$tflm..error..Text$u20$as$u20$core..fmt..Display$GT$3fmt17h0f3bbb2fbe103b56E", "crate tflm"),
        (
            ".text._ZN123_$LT$$LT$qemu_mps..console..Quoted$LT$T$GT$$u20$as$u20$core..fmt..Display$GT$..fmt..Escaped"
            "$u20$as$u20$core..fmt..Write$GT$9write_str17hb0a34478f95e0226E",
            "crate qemu_mps",
        ),
        (".text._ZN62_$LT$core..option..Option$LT$T$GT$$u20$as$u20$detector..Verdict$GT$2of17h0E", "crate detector"),
        (".text._ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0E", "crate alloc"),
        (".text._ZN56_$LT$$u5b$T$u5d$$u20$as$u20$tflm..tensor..Element$GT$2of17h0E", "crate tflm"),
        (".bss._ZN8qemu_mps8firmware7STORAGE17hff7b0c87deb8d39eE", "crate qemu_mps"),
        (".rodata..Lswitch.table._ZN8detector6window4next17h0E", "crate detector"),
        (".text.unlikely._RNvNtCs7ldSeZOOJos_4core9panicking9panic_fmt", "crate core"),
        (".text._RNvXs1i_NtCs7ldSeZOOJos_4core3fmtReNtB6_7Display3fmtB8_", "crate core"),
        (".text._RNvYNtNtNtCs7ldSeZOOJos_4core3fmt8builders10PadAdapterNtB6_5Write9write_fmtB8_", "crate core"),
        (".text._RNvXs3C9_NtCs1_4tflm5errorNtB5_4TextNtNtCs7ldSeZOOJos_4core3fmt7Display3fmt", "crate tflm"),
        (".text._RINvNtCs7ldSeZOOJos_4core3ptr13drop_in_placeNtCs1_4tflm5ErrorEB4_", "crate core"),
        (".text._RNCNvCs1_8detector4next0B3_", "crate detector"),
        (".text._RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind", "crate qemu_mps"),  # the application's panic handler
        (".text.main", "crate qemu_mps"),
        (".HardFault.user", "crate qemu_mps"),
        (".Reset", "crate cortex_m_rt"),
        (".HardFaultTrampoline", "crate cortex_m_rt"),
        (".text.DefaultHandler_", "crate cortex_m_rt"),
        (".text.unlikely.tflm_halted", "crate tflm"),
        (".rodata..Lanon.3e6ec9faeb0d4d3f0dc475338358b391.2", "Rust literals"),
        (".data.rel.ro..Lanon.3e6ec9faeb0d4d3f0dc475338358b391.2", "Rust literals"),
        (".rodata.cst16", "Rust literals"),
    ],
)
def test_fat_lto_hides_no_crate_since_its_symbols_name_it(section_name: str, name: str) -> None:
    assert owner(f"{RUST}:({section_name})") == (name, "rust")


@pytest.mark.parametrize(
    ("what", "name", "group"),
    [
        (f"{SYS}(3e6b729efceb5ccf-conv.o):(.text._ZN6tflite4EvalE)", "TFLM kernel conv", "tflm kernels"),
        (f"{SYS}(3e6b729efceb5ccf-conv_common.o):(.text._ZN6tflite4EvalE)", "TFLM kernel conv", "tflm kernels"),
        (f"{SYS}(635edd4684028543-common.o):(.text._ZN6tflite29MultiplyE)", "TFLM kernel common", "tflm kernels"),
        (f"{SYS}(45b103f88eac18c0-common.o):(.text.TfLiteTypeGetName)", "TFLM core common", "tflm core"),
        (f"{SYS}(635edd4684028543-micro_tensor_utils.o):(.text.f)", "TFLM kernel micro_tensor_utils", "tflm kernels"),
        (f"{SYS}(259d70a8540ed226-micro_allocator.o):(.text.f)", "TFLM core micro_allocator", "tflm core"),
        (f"{SYS}(2987951c5cbf7d98-arm_convolve_s8.o):(.text.f)", "CMSIS-NN arm_convolve_s8", "nn library"),
        (f"{SYS}(2987951c5cbf7d98-esp_nn_conv_s8.o):(.text.f)", "ESP-NN esp_nn_conv_s8", "nn library"),
        (f"{SYS}(1d33d992aaad25d5-tflm_shim.o):(.text.tflm_begin)", "TFLM shim", "tflm core"),
        (f"{SYS}(lib_a-strcmp.o):(.text)", "newlib strcmp", "c library"),
        ("/lib/libc.a(libc_a-memcpy.o):(.text)", "newlib memcpy", "c library"),
        ("/lib/libm.a(libm_a-ef_exp.o):(.text)", "newlib ef_exp", "c library"),
        (f"{SYS}(_arm_muldivdf3.o):(.text)", "libgcc arm_muldivdf3", "compiler runtime"),
        ("/lib/libgcc.a(bpabi.o):(.text)", "libgcc bpabi", "compiler runtime"),
        (
            "/target/libcompiler_builtins-9.rlib(compiler_builtins-9.compiler_builtins.5-cgu.07.rcgu.o):(.text.memcpy)",
            "crate compiler_builtins",
            "compiler runtime",
        ),
        ("/target/libcore-9.rlib(core-9.core.5-cgu.0.rcgu.o):(.rodata..Lanon.7.1)", "crate core", "rust"),
        ("<internal>:(.rodata.DebugLog.str1.4)", "merged strings", "strings"),
        ("<internal>:(.rodata.cst8)", "merged constants", "strings"),
        ("<internal>:(.text.thunk)", "linker", "other"),
        ("LONG(0x1)", "linker script", "other"),
        ("/elsewhere/start.o:(.text)", "start", "other"),
    ],
)
def test_c_and_cplusplus_are_told_by_their_object_files(what: str, name: str, group: str) -> None:
    assert owner(what) == (name, group)


def test_what_has_a_section_of_its_own_is_named_after_it_whoever_put_it_there() -> None:
    what = f"{RUST}:(.model)"
    assert owner(what, ".model") == ("model weights", "weights")
    assert owner(what, ".vector_table") == ("vector table", "vectors")
    assert owner("LONG(_stack_start & 0xFFFFFFF8)", ".vector_table") == ("vector table", "vectors")


def test_initial_values_count_in_flash_and_in_ram_and_zeroed_memory_only_in_ram() -> None:
    code = section(".text", 0x400, [(0x400, 0x100, 4, f"{RUST}:(.text.main)")])
    data = section(".data", 0x2000_0000, [(0x2000_0000, 0x20, 4, f"{RUST}:(.data.X)")], load=0x500)
    # A load address in flash, as some linker scripts give it; nothing lies there.
    bss = section(".bss", 0x2000_0020, [(0x2000_0020, 0x40, 4, f"{RUST}:(.bss.Y)")], load=0x520)
    report = size_report(lld_map(code, data, bss), AN386)
    assert [(one.name, one.kind) for one in report.sections] == [(".text", "flash"), (".data", "both"), (".bss", "ram")]
    assert (report.flash_used, report.ram_used) == (0x120, 0x60)
    assert adds_up(report)


@pytest.mark.parametrize("name", [".debug_info", ".comment", ".ARM.attributes", ".symtab", ".unheard_of"])
@pytest.mark.parametrize("board", [AN386, AN547], ids=lambda board: board.name)
def test_what_is_not_on_the_device_counts_nowhere_even_where_flash_starts_at_zero(board: Board, name: str) -> None:
    flash = board.memories[0].start
    vectors = section(".vector_table", flash, [(flash, 0x40, 4, f"{RUST}:(.vector_table)")])
    absent = section(name, 0, [(0, 0x30, 1, f"{RUST}:({name})")], align=1)
    report = size_report(lld_map(vectors, absent), board)
    assert [one.name for one in report.sections] == [".vector_table"]
    assert (report.flash_used, report.ram_used) == (0x40, 0)


def test_padding_is_counted_inside_sections_and_between_them_and_a_hole_left_on_purpose_is_not() -> None:
    room = (0x40F, 1, 1, ". = ALIGN(16)")  # the linker script's own padding has a line
    one = section(".text", 0x400, [(0x400, 5, 4, f"{RUST}:(.text.main)"), (0x408, 7, 4, f"{RUST}:(.text.f)"), room])
    two = section(".rodata", 0x420, [(0x420, 4, 32, f"{RUST}:(.rodata.x)")], align=32)
    far = section(".model", 0x9000, [(0x9000, 4, 16, f"{RUST}:(.model)")], align=16)
    report = size_report(lld_map(one, two, far), AN386)
    (padding,) = [one for one in report.contributors if one.group == "padding"]
    assert padding == Contributor(name="padding", group="padding", flash=3 + 1 + 16, ram=0)
    assert report.flash_used == 0x24 + 4
    assert adds_up(report)


def test_weights_in_a_flash_of_their_own_fill_that_one() -> None:
    code = section(".text", 0x1000_0000, [(0x1000_0000, 0x100, 4, f"{RUST}:(.text.main)")])
    model = section(".model", 0x3800_0000, [(0x3800_0000, 0x8000, 16, f"{RUST}:(.model)")], align=16)
    arena = section(".tensor_arena", 0x3100_0000, [(0x3100_0000, 0x400, 64, f"{RUST}:(.tensor_arena)")], align=64)
    report = size_report(lld_map(code, model, arena), AN547, stack_bytes=0x1000)
    assert {region.name: region.used for region in report.regions} == {"FLASH": 0x100, "QSPI": 0x8000, "RAM": 0x1400}
    assert (report.flash_used, report.ram_used) == (0x8100, 0x1400)
    assert adds_up(report)


def test_an_image_within_its_budgets_has_nothing_to_say() -> None:
    assert over_budget(size_report(EXCERPT, AN386, stack_bytes=8192)) == []
    exact = dataclasses.replace(AN386, flash_budget=651_392, ram_budget=356_544)
    assert over_budget(size_report(EXCERPT, exact)) == []


def test_an_exceeded_budget_is_named_with_its_excess_and_the_three_biggest_contributors() -> None:
    tight = dataclasses.replace(AN386, flash_budget=650_000, ram_budget=360_000)
    assert over_budget(size_report(EXCERPT, tight, stack_bytes=8192)) == [
        "the image takes 651,392 B of the flash budget of 650,000 B, 1,392 B too many; the biggest contributors are "
        "model weights (628,256 B), merged strings (10,126 B), crate tflm (3,102 B)",
        "the image takes 364,736 B of the RAM budget of 360,000 B, 4,736 B too many; the biggest contributors are "
        "tensor arena (354,752 B), stack (8,192 B), newlib impure (1,072 B)",
    ]


def test_a_full_memory_is_named_once_unless_the_budget_is_another_figure() -> None:
    whole = size_report(EXCERPT, AN386, stack_bytes=4 << 20)
    assert [sentence.split(",")[0] for sentence in over_budget(whole)] == ["the image takes 4"]
    tight = size_report(EXCERPT, dataclasses.replace(AN386, ram_budget=1 << 20), stack_bytes=4 << 20)
    budget, memory = over_budget(tight)
    assert "of the RAM budget of 1,048,576 B" in budget
    assert "of the memory RAM of 4,194,304 B" in memory


def test_a_map_that_ends_early_is_refused_or_gives_the_same_report() -> None:
    whole = size_report(EXCERPT, AN386)
    refused = 0
    for end in range(0, len(EXCERPT), 7):
        try:
            assert size_report(EXCERPT[:end], AN386) == whole
        except MapUnreadable:
            refused += 1
    assert refused * 7 > EXCERPT.index(".shstrtab")


def test_a_map_that_lacks_any_one_line_is_refused_or_has_the_same_totals() -> None:
    whole = size_report(EXCERPT, AN386)
    lines = EXCERPT.splitlines(keepends=True)
    refused = 0
    for i in range(len(lines)):
        try:
            report = size_report("".join(lines[:i] + lines[i + 1 :]), AN386)
        except MapUnreadable:
            refused += 1
            continue
        assert (report.flash_used, report.ram_used, report.sections) == (
            whole.flash_used,
            whole.ram_used,
            whole.sections,
        )
        assert adds_up(report)
    assert refused > 30


def test_a_map_of_gnu_ld_is_refused_by_name() -> None:
    text = "Archive member included to satisfy reference by file (symbol)\n\nMemory Configuration\n\nName  Origin\n"
    with pytest.raises(MapUnreadable, match="GNU ld") as refused:
        size_report(text, AN386)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), str(again)) == (MapUnreadable, str(refused.value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no linker map: it starts with ''"),
        ("\x7fELF\x01\x01", "no linker map"),
        (HEADER + "\n", "ends early, after 1 lines"),
        (
            EXCERPT.replace(HEADER, HEADER + "\nwarning: something"),
            "line 2 of the linker map is none of LLD's: 'warning",
        ),
        (lld_map([line(0, 0, 4, 4, 8, f"{RUST}:(.text)")]), "line 2 of the linker map is below no section"),
        (
            lld_map(
                section(".text", 0x400, [(0x400, 4, 4, f"{RUST}:(.text.main)"), (0x440, 4, 4, f"{RUST}:(.text.f)")])
            ),
            "section .text does not add up in the linker map at 0x404: 60 bytes belong to nobody",
        ),
        (
            lld_map(
                section(".text", 0x400, [(0x400, 8, 4, f"{RUST}:(.text.main)"), (0x404, 4, 4, f"{RUST}:(.text.f)")])
            ),
            "section .text does not add up in the linker map at 0x408: pieces overlap or stick out",
        ),
        (
            lld_map(
                section(".text", 0x400, [(0x400, 8, 4, f"{RUST}:(.text.main)")]),
                section(".rodata", 0x404, [(0x404, 8, 4, f"{RUST}:(.rodata.x)")]),
            ),
            "sections .text and .rodata overlap",
        ),
        (lld_map([line(0x400, 0x400, 0x80, 4, 0, ".text")]), "0x400: 128 bytes belong to nobody"),
        (
            lld_map(section(".text", 0x4200_0000, [(0x4200_0000, 8, 4, f"{RUST}:(.text.main)")])),
            "section .text lies at 0x42000000, and board mps2-an386 has no memory there",
        ),
        (
            lld_map(section(".data", 0x2000_0000, [(0x2000_0000, 8, 4, f"{RUST}:(.data.X)")], load=0x4200_0000)),
            "section .data lies at 0x42000000, and board mps2-an386 has no memory there",
        ),
    ],
)
def test_a_map_that_contradicts_itself_or_its_board_is_refused_with_the_place(text: str, reason: str) -> None:
    with pytest.raises(MapUnreadable) as refused:
        size_report(text, AN386)
    assert reason in refused.value.message
    assert refused.value.next_step


def _lld() -> Path:
    """LLD as the pinned Rust toolchain has it; the test is skipped by name where something lacks."""
    try:
        rustc = find_rustc().path
    except MissingTool as missing:
        pytest.skip(missing.message)
    environment = {"PATH": f"{rustc.parent}:/usr/bin:/bin", "HOME": str(Path.home()), **rust_environment()}
    asked = subprocess.run([rustc, "--print", "sysroot"], env=environment, capture_output=True, text=True, check=True)
    found = next(Path(asked.stdout.strip()).glob("lib/rustlib/*/bin/rust-lld"), None)
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-ar", "arm-none-eabi-size", "arm-none-eabi-objcopy"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not on PATH")
    return found or pytest.skip("the Rust toolchain has no rust-lld")


SOURCES = {
    "0123456789abcdef-conv.o": 'const char *conv(void) { return "conv"; } int used = 7;',
    "fedcba9876543210-micro_allocator.o": 'long long spare = 5; char tag = 1; const char *f(void) { return "core"; }',
    "app-12.app.34-cgu.0.rcgu.o": """
        __attribute__((section(".model"), used, aligned(16))) const char weights[1000] = {1};
        __attribute__((section(".tensor_arena"), used, aligned(64))) char arena[4096];
        __attribute__((section(".text._ZN3app4main17h0123456789abcdefE"))) void start(void) {
          extern const char *conv(void), *f(void); extern char room[77]; room[3] = *conv() + *f(); }
        char room[77]; """,
}
SECTIONS = """SECTIONS {
  .vector_table ORIGIN(FLASH) : { LONG(_end_of_ram) LONG(start) } > FLASH
  .text : ALIGN(4) { *(.text .text.*) } > FLASH
  .rodata : ALIGN(4) { *(.rodata .rodata.*) } > FLASH
  .data : ALIGN(8) { *(.data .data.*) . = ALIGN(8); } > RAM AT> FLASH
  .bss (NOLOAD) : ALIGN(4) { *(.bss .bss.* COMMON) . = ALIGN(16); } > RAM
  /DISCARD/ : { *(.ARM.exidx*) } }
_end_of_ram = ORIGIN(RAM) + LENGTH(RAM);
"""


@pytest.mark.parametrize("board", [AN386, AN547], ids=lambda board: board.name)
def test_section_sizes_are_those_in_the_elf_and_the_flash_is_as_long_as_the_binary(
    board: Board, tmp_path: Path
) -> None:
    lld, gcc = _lld(), ["arm-none-eabi-gcc", f"-mcpu={board.cpu}", "-mthumb", "-O1", "-g1", "-ffunction-sections"]
    for name, text in SOURCES.items():
        subprocess.run([*gcc, "-x", "c", "-c", "-", "-o", name], input=text, text=True, cwd=tmp_path, check=True)
    compiled = [name for name in SOURCES if "-cgu" not in name]
    subprocess.run(["arm-none-eabi-ar", "rc", "libtflm_sys-1.rlib", *compiled], cwd=tmp_path, check=True)
    (tmp_path / "memory.x").write_text(linker_script(board))
    (tmp_path / "sections.x").write_text(SECTIONS)
    link: list[str | Path] = [
        lld,
        "-flavor",
        "gnu",
        "--nmagic",
        "-e",
        "start",
        "-Tmemory.x",
        "-Tsections.x",
        "-Map=image.map",
    ]
    link += ["app-12.app.34-cgu.0.rcgu.o", "libtflm_sys-1.rlib", "-o", "image.elf"]
    subprocess.run(link, cwd=tmp_path, check=True)
    report = size_report((tmp_path / "image.map").read_text(), board)
    said = subprocess.run(
        ["arm-none-eabi-size", "-A", "image.elf"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    listed = {
        name: (int(size), int(at)) for name, size, at in re.findall(r"^(\.\S+) +(\d+) +(\d+)$", said, re.MULTILINE)
    }
    off_device = {name for name in listed if name.startswith((".debug", ".comment", ".ARM.attributes"))}
    assert off_device
    assert {one.name: (one.size, one.address) for one in report.sections} == {
        name: found for name, found in listed.items() if name not in off_device and found[0]
    }
    assert adds_up(report)
    assert {"crate app", "TFLM kernel conv", "TFLM core micro_allocator", "model weights", "tensor arena"} <= {
        one.name for one in report.contributors
    }
    only = ["--only-section=.model"] if board is AN547 else []  # else two flashes and the gigabyte between them
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", *only, "image.elf", "image.bin"], cwd=tmp_path, check=True)
    used = {region.name: region.used for region in report.regions}
    assert used["QSPI" if board is AN547 else "FLASH"] == (tmp_path / "image.bin").stat().st_size


def test_groups_in_the_picture_sum_up_to_what_is_used_and_small_ones_are_merged() -> None:
    report = size_report(EXCERPT, AN386, stack_bytes=8192)
    flash, ram = shares(report, "flash"), shares(report, "ram")
    assert sum(size for _, size in flash) == report.flash_used
    assert sum(size for _, size in ram) == report.ram_used
    assert flash[0] == ("weights", 628_256)
    assert [name for name, _ in ram] == ["arena", "stack", "c library", "rust", "other"]
    assert flash[-1][0] == "other"
    assert all(len(bar) <= 8 for bar in (flash, ram))


@pytest.mark.parametrize("budget", [0, 100_000], ids=["within", "over"])
def test_the_picture_is_one_svg_for_a_page_that_says_every_figure_in_words(budget: int) -> None:
    report = size_report(EXCERPT, dataclasses.replace(AN386, flash_budget=budget), stack_bytes=8192)
    svg = memory_bars(report)
    assert svg == memory_bars(report)
    root = ElementTree.fromstring(svg)
    text = " ".join("".join(root.itertext()).split())
    for words in ("weights 628.3 kB", "NN library 3.2 kB", "arena 354.8 kB", "stack 8.2 kB"):
        assert words in text
    assert ("551.4 kB over" if budget else "3,542.9 kB free") in text
    assert "RAM: 364.7 kB of 4,194.3 kB (8.7 %), 3,829.6 kB free" in root.attrib["aria-label"]
    assert ("var(--bad)" in svg) == bool(budget)
