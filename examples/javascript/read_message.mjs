// Reads a sparknet message with the package @msgpack/msgpack. docs/reference/format_v1.md fixes every byte of one.
import { decode } from "@msgpack/msgpack";
import { checksum, crc32 } from "./checksum.mjs";

// What JavaScript has no numbers for comes as its bits (float16, bfloat16, float8), a complex number as two numbers.
const TYPES = {
  0x10: ["bool", Uint8Array], 0x20: ["int8", Int8Array], 0x21: ["int16", Int16Array], 0x22: ["int32", Int32Array],
  0x23: ["int64", BigInt64Array], 0x30: ["uint8", Uint8Array], 0x31: ["uint16", Uint16Array],
  0x32: ["uint32", Uint32Array], 0x33: ["uint64", BigUint64Array], 0x41: ["float16", Uint16Array],
  0x42: ["float32", Float32Array], 0x43: ["float64", Float64Array], 0x51: ["bfloat16", Uint16Array],
  0x60: ["float8_e4m3fn", Uint8Array], 0x70: ["float8_e5m2", Uint8Array],
  0x83: ["complex64", Float32Array], 0x84: ["complex128", Float64Array],
};
const ENCODINGS = ["raw", "float16", "bfloat16", "int8"];
const KEYS = "kind names counts dtypes ndims dim_width dims encodings compression stored metadata checksums".split(" ");
const UINTS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array };

// Returns the kind, the metadata, and a Map: name -> { dtype, shape, values, encoding, compression, bytes }. values share
// memory with the message, a Uint8Array. They are null if the tensor is encoded or compressed: bytes has it as it is stored.
export function readMessage(message) {
  const aligned = message.byteOffset % 8 ? new Uint8Array(message) : message; // as a view of 8-byte numbers has to be
  const [version, packed, crc, body] = Object.values(unpack(aligned) ?? {});
  if (version !== "sparknet/1") throw new Error("this is not a message of the format sparknet/1");
  if (!(packed instanceof Uint8Array) || crc32(packed) !== crc) throw new Error("the header is damaged");
  const header = decode(packed, { useBigInt64: true });
  const unknown = Object.keys(header).filter((key) => !KEYS.includes(key));
  if (unknown.length) throw new Error(`the message needs a newer reader: its header has ${unknown}`);

  const names = tensorNames(header);
  const dims = uints(header.dims, header.dim_width).values();
  const payloads = body.filter((_, place) => place % 2).values();
  const stored = header.compression && uints(header.stored, 8);
  const sums = header.checksums && uints(header.checksums, 4);
  const tensors = new Map();
  for (const [index, code] of header.dtypes.entries()) {
    const encoding = header.encodings?.[index] ?? 0;
    if (!TYPES[code] || !ENCODINGS[encoding]) throw new Error(`${names[index]}: the message needs a newer reader`);
    const [dtype, Values] = TYPES[code];
    const shape = Array.from({ length: header.ndims[index] }, () => Number(dims.next().value));
    const count = shape.reduce((product, length) => product * length, 1);
    const size = [count * 2 ** (code & 15), 2 * count, 2 * count, count + 4 * Math.ceil(count / 256)][encoding];
    const compression = stored && Number(stored[index]) < size ? header.compression : null;
    const bytes = join(payloads, compression ? Number(stored[index]) : size, names[index]);
    if (sums && checksum(bytes) !== sums[index]) throw new Error(`the tensor '${names[index]}' is damaged`);
    const isPlain = encoding === 0 && !compression;
    const values = isPlain ? new Values(bytes.buffer, bytes.byteOffset, size / Values.BYTES_PER_ELEMENT) : null;
    tensors.set(names[index], { dtype, shape, values, encoding: ENCODINGS[encoding], compression, bytes });
  }
  return { kind: header.kind, metadata: header.metadata ?? {}, tensors };
}

function unpack(message) {
  try {
    return decode(message);
  } catch (error) {
    throw new Error(`the message is damaged or truncated: ${error.message}`);
  }
}

function uints(column, width) {
  return new UINTS[width](new Uint8Array(column).buffer);
}

// The tensors of a layer of weights are called layer[0], layer[1], ...; an array has the empty name.
function tensorNames({ kind, names = "", counts }) {
  const split = names.split("\0");
  if (kind !== "weights") return split;
  return [...uints(counts, 4)].flatMap((count, layer) => Array.from({ length: count }, (_, n) => `${split[layer]}[${n}]`));
}

// The bytes of a tensor: its payload, or if it is split, a new array.
function join(payloads, size, name) {
  const parts = [];
  let missing = size;
  do {
    const part = payloads.next().value;
    if (!(part instanceof Uint8Array)) throw new Error(`the tensor '${name}' lacks ${missing} bytes`);
    parts.push(part);
    missing -= part.length;
  } while (missing > 0);
  if (missing) throw new Error(`the tensor '${name}' has ${-missing} bytes too many`);
  if (parts.length === 1) return parts[0];
  const joined = new Uint8Array(size);
  parts.reduce((end, part) => (joined.set(part, end), end + part.length), 0);
  return joined;
}
