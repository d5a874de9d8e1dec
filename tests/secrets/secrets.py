#!/usr/bin/env python3
"""Nothing that the lanes branch on, and no address, depends on a secret.

secrets.py SOURCE_DIR [rsa_ifma.a]     without the library, as where sanitizers have put their own checks in it: the first alone

Twice, for each way sees what the other cannot:
- MemorySanitizer over rsa_lanes.c and rsa_ifma.c as clang compiles them, with all secrets undefined (undefined.c). It
  follows every bit through the vector instructions, but not into the code that gcc makes. Exit status 77 without clang.
- The instructions of the very kernel that was built: secrets come into vector and mask registers alone, and none is there
  that brings one from these into a general register, into the flags, or into an address. (The verification, which
  works with public numbers, may.)
valgrind's memcheck would see both at once, but version 3.19 does not know AVX-512. Neither shows how long an instruction
takes; rsa_timing measures that."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

FLAGS = "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mavx512ifma".split()
PUBLIC = {"rsa_ifma_wrong", "multiply_public", "square_public", "reduce_public", "forget_stack", "rsa_ifma_forget"}
SECRET = {"rsa_ifma_sign"}  # must be among what is looked at, or the look was at nothing
GENERAL = r"%(?:r[a-d]x|r[sd]i|r[bs]p|r\d+[dwb]?|e[a-d]x|e[sd]i|ebp|[a-d][lhx]|[sd]il?)"
# From vectors and masks to general registers and flags, and addresses made of vectors.
ESCAPES = re.compile(
    r"^(?:v?p?(?:gather|scatter)\w*|vp(?:gather|scatter)\w*|v?(?:gather|scatter)\w*|kortest\w*|ktest\w*|v?ptest|vtestp[sd]|"
    r"v?u?comis[sd]|v?p?movmsk\w*|v?pextr\w*|v?cvtt?s[sd]2u?si\w*)\b|"
    r"^(?:kmov|vmov)\w+\s+%(?:k|[xyz]mm)\d+," + GENERAL + r"$|"
    r"\([^)]*%[xyz]mm")


def holds_pointer(instruction, body):
    """The compiler keeps a general register's value in a vector register that nothing else in the function writes."""
    move = re.match(r"^vmov[dq]\s+%[xyz]mm(\d+)," + GENERAL + "$", instruction)
    writes = move and [text for text in body if re.search(rf",%[xyz]mm{move.group(1)}(?:\{{|$)", text)]
    return bool(writes) and all(re.match(r"^vmov[dq]\s+" + GENERAL + ",", text) for text in writes)


def escapes(archive):
    """(function, instruction), and the functions that were looked at."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", archive], check=True, capture_output=True,
                          text=True).stdout
    functions, function = {}, ""
    for line in text.splitlines():
        head = re.match(r"^[0-9a-f]+ <([^>.]+)", line)
        function = head.group(1) if head else function
        instruction = re.match(r"^\s+[0-9a-f]+:\s+(.*\S)", line)
        if instruction:
            functions.setdefault(function, []).append(instruction.group(1))
    found = [(name, instruction) for name, body in functions.items() if name not in PUBLIC
             for instruction in body if ESCAPES.search(instruction) and not holds_pointer(instruction, body)]
    return found, set(functions)


def check_plants():
    """Each kind of escape is recognised, and what is harmless is not."""
    for text in ("kmovb  %k1,%eax", "vmovq  %xmm0,%rax", "vpextrq $0x1,%xmm0,%rdx", "kortestb %k0,%k0",
                 "vpgatherqq (%rax,%zmm1,8),%zmm0{%k1}", "vptest %ymm0,%ymm0", "vpmovmskb %ymm0,%eax"):
        if not ESCAPES.search(text):
            sys.exit(f"not recognised: {text}")
    for text in ("kmovb  (%rdi),%k1", "vmovdqa64 (%rax,%rcx,8),%zmm0", "vpmadd52luq (%rdi),%zmm1,%zmm2",
                 "vpmovzxbq (%rdx),%zmm0", "vpbroadcastq %rax,%zmm0", "vpcmpeqq %zmm0,%zmm1,%k1"):
        if ESCAPES.search(text):
            sys.exit(f"wrongly accused: {text}")
    back = "vmovq  %xmm30,%rsi"
    if not holds_pointer(back, ["vmovq  %rdi,%xmm30", back]) or \
            holds_pointer(back, ["vmovq  %rdi,%xmm30", "vpaddq %zmm1,%zmm2,%zmm30", back]):
        sys.exit("a pointer that is kept in a vector register is not told from a secret")


def check_instructions(archive):
    check_plants()
    found, seen = escapes(archive)
    if not SECRET <= seen:
        sys.exit(f"{archive} holds no kernel")
    for function, instruction in found:
        print(f"a secret may leave its register in {function}: {instruction}")
    print(f"{len(seen)} functions, {len(found)} ways out")
    return not found


def check_undefined(source):
    clang = shutil.which("clang")
    if not clang:
        print("MemorySanitizer: skipped, there is no clang")
        return None
    with tempfile.TemporaryDirectory(prefix="sluice-secrets-") as directory:
        program = os.path.join(directory, "undefined")
        subprocess.run([clang, "-O1", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-fsanitize=memory", *FLAGS,
                        "-I", os.path.join(source, "engine"), "-I", os.path.join(source, "include"),
                        os.path.join(source, "tests/secrets/undefined.c"),
                        os.path.join(source, "engine/sign/rsa_ifma.c"), "-lcrypto", "-o", program], check=True)
        clean = subprocess.run([program], capture_output=True, text=True)
        if clean.returncode == 77:
            print("MemorySanitizer: skipped,", clean.stdout.strip())
            return None
        planted = subprocess.run([program, "plant"], capture_output=True, text=True)
    if clean.returncode:
        print(clean.stdout + clean.stderr)
    if "use-of-uninitialized-value" not in planted.stderr:
        print("a planted branch was not reported")
        return False
    print("MemorySanitizer:", "a secret decides" if clean.returncode else "no branch and no address is secret")
    return clean.returncode == 0


def main():
    instructions = check_instructions(sys.argv[2]) if len(sys.argv) > 2 else True
    undefined = check_undefined(sys.argv[1])
    if not instructions or undefined is False:
        sys.exit(1)
    sys.exit(77 if undefined is None else 0)


main()
