#!/usr/bin/env python3
"""Writes the vectors beside it. It shares no code with the Go packages: BLAKE3 (its specification, section 2),
Ed25519 (RFC 8032 5.1), HKDF (RFC 5869) and both base32s are written out here, so that the vectors test the Go
code and not themselves. Usage: python3 generate.py (in this folder)."""
import base64
import hashlib
import hmac
import struct

# --- BLAKE3 ---------------------------------------------------------------------------------------------------
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERM = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
START, END, PARENT, ROOT = 1, 2, 4, 8
M32 = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    s = cv + IV[:4] + [counter & M32, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))

    def g(a, b, c, d, x, y):
        def rot(v, n):
            return (v >> n | v << (32 - n)) & M32
        s[a] = (s[a] + s[b] + x) & M32
        s[d] = rot(s[d] ^ s[a], 16)
        s[c] = (s[c] + s[d]) & M32
        s[b] = rot(s[b] ^ s[c], 12)
        s[a] = (s[a] + s[b] + y) & M32
        s[d] = rot(s[d] ^ s[a], 8)
        s[c] = (s[c] + s[d]) & M32
        s[b] = rot(s[b] ^ s[c], 7)

    for _ in range(7):
        for i in range(4):
            g(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            g(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[p] for p in PERM]
    return [s[i] ^ s[i + 8] for i in range(8)]


def subtree(data, counter, root):
    """The chaining value of data, whose first KiB is number counter of its file."""
    if len(data) <= 1024:
        cv, blocks = IV, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
        for i, b in enumerate(blocks):
            last = i == len(blocks) - 1
            flags = (START if i == 0 else 0) | (END | root if last else 0)
            cv = compress(cv, b, counter, len(b), flags)
        return cv
    left = 1024
    while left * 2 < len(data):
        left *= 2
    return join(subtree(data[:left], counter, 0), subtree(data[left:], counter + left // 1024, 0), root)


def join(left, right, root):
    return compress(IV, struct.pack("<16I", *(left + right)), 0, 64, PARENT | root)


def text(cv):
    return struct.pack("<8I", *cv).hex()


def pattern(n):
    """The input of BLAKE3's own test vectors."""
    return (bytes(range(251)) * (n // 251 + 1))[:n]


# --- Ed25519 --------------------------------------------------------------------------------------------------
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * I % P
    return P - x if x % 2 != sign else x


BY = 4 * pow(5, P - 2, P) % P
B = (recover(BY, 0), BY)


def add(p, q):
    (x1, y1), (x2, y2) = p, q
    t = D * x1 * x2 * y1 * y2 % P
    return ((x1 * y2 + x2 * y1) * pow(1 + t, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, P - 2, P) % P)


def mul(n, p):
    r = (0, 1)
    while n:
        if n & 1:
            r = add(r, p)
        p, n = add(p, p), n >> 1
    return r


def enc(p):
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


def secret(seed):
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little") & (2**254 - 8) | 2**254
    return a, h[32:]


def public(seed):
    return enc(mul(secret(seed)[0], B))


def sign(seed, msg):
    a, prefix = secret(seed)
    pub = public(seed)
    r = int.from_bytes(hashlib.sha512(prefix + msg).digest(), "little") % L
    big = enc(mul(r, B))
    k = int.from_bytes(hashlib.sha512(big + pub + msg).digest(), "little") % L
    return big + ((r + k * a) % L).to_bytes(32, "little")


def spki(seed):
    return bytes.fromhex("302a300506032b6570032100") + public(seed)


# --- the rest -------------------------------------------------------------------------------------------------
def hkdf(ikm, salt, info):
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\1", hashlib.sha256).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def peer(der):
    return base64.b32encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def grouped(s):
    return "-".join(s[i:i + 7] for i in range(0, len(s), 7))


def code_text(b):
    n = int.from_bytes(b, "big") >> 4
    s = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[n >> (95 - 5 * i) & 31] for i in range(20))
    return "-".join(s[i:i + 5] for i in range(0, 20, 5))


out = None


def begin(name, *head):
    global out
    if out:
        out.close()
    out = open(name, "w")
    out.write("# Written by generate.py. " + head[0] + "\n")
    for line in head[1:]:
        out.write("# " + line + "\n")


def case(name, **fields):
    out.write("\nname: " + name + "\n")
    for k, v in fields.items():
        if isinstance(v, bytes):
            v = v.hex()
        out.write(k.replace("_", "-") + ": " + str(v) + "\n")


SEEDS = [bytes([i]) * 32 for i in range(4)]

begin("ids.txt", "Peer ids: \"spki\" has the id \"id\"; \"parse\" is read with the outcome \"expect\" (an id, or failure).",
      "Values stand in double quotes, with Go's escapes, where they are not plain.")
for i, s in enumerate(SEEDS):
    case("key %d" % i, spki=spki(s), id=peer(spki(s)), grouped=grouped(peer(spki(s))))
a = peer(spki(SEEDS[0]))
case("plain", parse=a, expect=a)
case("lower case", parse=a.lower(), expect=a)
case("grouped", parse=grouped(a), expect=a)
case("grouped, lower case", parse=grouped(a).lower(), expect=a)
for n, v in [
    ("empty", ""), ("one letter less", a[:-1]), ("one letter more", a + "A"), ("padded", a + "===="),
    ("a dash at the end", a + "-"), ("groups of eight", "-".join(a[i:i + 8] for i in range(0, 52, 8))),
    ("a space for a dash", grouped(a).replace("-", " ")), ("a dash elsewhere", a[:6] + "-" + grouped(a)[6:7] + grouped(a)[8:]),
    ("a digit that does not occur", "1" + a[1:]), ("another one", "8" + a[1:]), ("a line break within", a[:-1] + "\\n"),
    ("bits beyond the end", a[:-1] + "B"), ("more bits beyond the end", a[:-1] + "P"),
    ("a long s", "ſ" + a[2:]), ("a NUL", "\\x00" + a[1:]), ("hexadecimal", hashlib.sha256(spki(SEEDS[0])).hexdigest()),
]:
    case(n, parse='"%s"' % v, expect="failure")

begin("digests.txt", "The hash tree. Input is \"bytes\" bytes, byte i being i mod 251, in chunks of 2^\"log2\".",
      "\"root\" is BLAKE3 of all; \"cv-N\" the chaining value of chunk N where there are two or more.")
for log2, n in [(18, 0), (18, 1), (18, 63), (18, 64), (18, 65), (18, 1023), (18, 1024), (18, 1025), (18, 4096), (18, 8193),
                (18, 16384), (18, 16385), (18, 65536), (18, 102400), (18, 262144), (18, 262145), (18, 524288), (18, 524289),
                (18, 786432), (18, 1000000), (19, 524288), (19, 524289), (20, 1048577)]:
    d = pattern(n)
    size, f = 1 << log2, {}
    for i in range((n + size - 1) // size if n > size else 0):
        f["cv-%d" % i] = text(subtree(d[i * size:(i + 1) * size], i * size // 1024, 0))
    case("%d bytes in chunks of 2^%d" % (n, log2), bytes=n, log2=log2, root=text(subtree(d, 0, ROOT)), **f)
for n, first in [(1, 1), (1000, 2**24 - 1), (5000, 2**24 - 1), (40000, 12345678)]:
    case("chunk %d alone, %d bytes" % (first, n), bytes=n, log2=24, chunk=first, cv=text(subtree(pattern(n), first << 14, 0)))
for n, v in [("empty", ""), ("upper case", "AB" * 32), ("one digit less", "a" * 63), ("one digit more", "a" * 65),
             ("not hexadecimal", "g" * 64), ("spaces", " " + "a" * 62 + " "), ("prefix", "0x" + "a" * 62)]:
    case("parse: " + n, parse='"%s"' % v, expect="failure")
case("parse: a digest", parse="0123456789abcdef" * 4, expect="0123456789abcdef" * 4)

begin("codes.txt", "Codes of invitations: \"bytes\" is written \"text\" and has the id \"id\"; \"parse\" is read with the",
      "outcome \"expect\" (the bytes, or failure).")
codes = [bytes(13), b"\xff" * 12 + b"\xf0", bytes(range(1, 13)) + b"\xd0", hashlib.sha256(b"code").digest()[:12] + b"\x70"]
for i, c in enumerate(codes):
    case("code %d" % i, bytes=c, text=code_text(c), id=c[:2])
t = code_text(codes[2])
for n, v in [("as written", t), ("lower case", t.lower()), ("no dashes", t.replace("-", "")), ("spaces", " " + t.replace("-", " ") + "\\r\\n"),
             ("dashes anywhere", "--" + "-".join(t.replace("-", "")) + "-"), ("O and I and L", t.replace("0", "O").replace("1", "l")),
             ("o and i", t.replace("0", "o").replace("1", "I"))]:
    case("parse: " + n, parse='"%s"' % v, expect=codes[2])
for n, v in [("empty", ""), ("only dashes", "-----"), ("a letter less", t[:-1]), ("a letter more", t + "0"), ("U", "U" + t[1:]),
             ("u", "u" + t[1:]), ("underscores", t.replace("-", "_")), ("a dot", t + "."), ("far too long", "-" * 65),
             ("a letter beyond ASCII", "é" + t[2:]), ("a NUL", "\\x00" + t[1:])]:
    case("parse: " + n, parse='"%s"' % v, expect="failure")

begin("proofs.txt", "Proofs bound to a TLS channel. \"exporter\" is what its exporter gives for the label of the proof.",
      "kind join: \"mac\" is checked with \"session-key\" and \"counter\". kinds client and server: with \"code\" and the SPKIs",
      "\"client\" and \"server\". The outcome is success, mismatch or failure.")
key, x = bytes(range(32)), bytes(range(100, 132))


def join_mac(k, x, n):
    return mac(k, b"join", x, n.to_bytes(8, "big"))


def join_case(name, expect, m, k=key, x=x, n=1):
    case(name, kind="join", session_key=k, exporter=x, counter=n, mac=m, expect=expect)


good = join_mac(key, x, 1)
for n in (0, 1, 2**32, 2**64 - 1):
    join_case("join, counter %d" % n, "success", join_mac(key, x, n), n=n)
join_case("join, another counter", "mismatch", good, n=2)
join_case("join, another connection", "mismatch", good, x=bytes(range(101, 133)))
join_case("join, another session", "mismatch", good, k=bytes(range(1, 33)))
join_case("join, a flipped bit", "mismatch", bytes([good[0] ^ 1]) + good[1:])
join_case("join, shortened", "mismatch", good[:31])
join_case("join, lengthened", "mismatch", good + b"\0")
join_case("join, no mac", "mismatch", b"")
join_case("join, short exporter", "failure", good, x=x[:31])
join_case("join, short session key", "failure", good, k=key[:16])
join_case("join, no session key", "failure", good, k=b"")
cl, sv = spki(SEEDS[1]), spki(SEEDS[2])


def enroll_mac(role, code, x, c, s):
    first, second = (c, s) if role == "client" else (s, c)
    return mac(hkdf(code, code[:2], b"xfer enroll v1"), role.encode(), x, first, second)


def enroll_case(name, role, expect, m, code=codes[3], x=x, c=cl, s=sv):
    case(name, kind=role, code=code, exporter=x, client=c, server=s, mac=m, expect=expect)


for role in ("client", "server"):
    other = "server" if role == "client" else "client"
    for i, c in enumerate(codes):
        enroll_case("%s, code %d" % (role, i), role, "success", enroll_mac(role, c, x, cl, sv), code=c)
    g = enroll_mac(role, codes[3], x, cl, sv)
    enroll_case(role + ", the other's proof", role, "mismatch", enroll_mac(other, codes[3], x, cl, sv))
    enroll_case(role + ", another channel", role, "mismatch", g, x=bytes(32))
    enroll_case(role + ", another client", role, "mismatch", g, c=spki(SEEDS[3]))
    enroll_case(role + ", another server", role, "mismatch", g, s=spki(SEEDS[3]))
    enroll_case(role + ", client and server exchanged", role, "mismatch", g, c=sv, s=cl)
    enroll_case(role + ", another code of the same id", role, "mismatch", g, code=codes[3][:12] + b"\x80")
    enroll_case(role + ", no mac", role, "mismatch", b"")
    enroll_case(role + ", short exporter", role, "failure", g, x=x[:16])
    enroll_case(role + ", short SPKI", role, "failure", g, c=cl[:43])
    enroll_case(role + ", no SPKI", role, "failure", g, s=b"")

begin("receipts.txt", "Signed receipts: \"sig\" over \"msg\" by the key \"spki\" (private: \"seed\"). The outcome is success,",
      "mismatch (the signature is wrong) or failure (the key cannot be read).")
for i, m in enumerate([b"", b"a receipt", bytes(1000)]):
    case("signed %d" % i, seed=SEEDS[i], spki=spki(SEEDS[i]), msg=m, sig=sign(SEEDS[i], b"xfer receipt v1\0" + m), expect="success")
sig = sign(SEEDS[1], b"xfer receipt v1\0a receipt")
sp = spki(SEEDS[1])
for name, expect, f in [
    ("another message", "mismatch", dict(msg=b"a receipT")),
    ("longer message", "mismatch", dict(msg=b"a receipt\0")),
    ("another key", "mismatch", dict(spki=spki(SEEDS[2]))),
    ("a flipped bit", "mismatch", dict(sig=bytes([sig[0] ^ 1]) + sig[1:])),
    ("no signature", "mismatch", dict(sig=bytes(64))),
    ("signed without its domain", "mismatch", dict(sig=sign(SEEDS[1], b"a receipt"))),
    ("signed in another domain", "mismatch", dict(sig=sign(SEEDS[1], b"xfer receipt v2\0a receipt"))),
    ("s not below the order", "mismatch", dict(sig=sig[:32] + (int.from_bytes(sig[32:], "little") + L).to_bytes(32, "little"))),
    ("no key", "failure", dict(spki=b"")),
    ("key too short", "failure", dict(spki=sp[:-1])),
    ("key too long", "failure", dict(spki=sp + b"\0")),
    ("key of another algorithm", "failure", dict(spki=bytes.fromhex("302a300506032b656e032100") + sp[12:])),
    ("bit string with unused bits", "failure", dict(spki=bytes.fromhex("302a300506032b6570032107") + sp[12:])),
]:
    case(name, **{**dict(spki=sp, msg=b"a receipt", sig=sig), **f, "expect": expect})
out.close()
