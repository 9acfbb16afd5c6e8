// Answers each line of its input, "<offset> <message in base64>", with a line of JSON: what the example reads, or its error.
// The message lies at that offset in bytes from the start of its memory.
import { createInterface } from "node:readline";
import { readMessage } from "./read_message.mjs";

const hex = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString("hex");

// Plain values in JSON, which has no bytes, no 64-bit integers and no infinities.
function plain(value) {
  if (typeof value === "bigint" || typeof value === "number") return { [typeof value]: String(value) };
  if (value instanceof Uint8Array) return { bytes: hex(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return { map: Object.entries(value).map(([key, entry]) => [key, plain(entry)]) };
}

function answer(message) {
  const { kind, metadata, tensors } = readMessage(message);
  const rows = Array.from(tensors, ([name, { values, bytes, ...tensor }]) => ({
    ...tensor,
    name,
    bytes: hex(bytes),
    values: values && hex(values),
    type: values && values.constructor.name,
    first: values && Array.from(values.subarray(0, 4), String),
    shares: bytes.buffer === message.buffer,
  }));
  return { kind, metadata: plain(metadata), tensors: rows };
}

for await (const line of createInterface({ input: process.stdin })) {
  const [offset, text] = line.split(" ");
  const message = Buffer.from(text, "base64");
  const memory = new Uint8Array(Number(offset) + message.length);
  memory.set(message, Number(offset));
  try {
    console.log(JSON.stringify(answer(memory.subarray(Number(offset)))));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
