// Prints what a sparknet message holds: node print_message.mjs FILE
import { readFileSync } from "node:fs";
import { readMessage } from "./read_message.mjs";

const { kind, metadata, tensors } = readMessage(readFileSync(process.argv[2]));
console.log(kind, metadata);
for (const [name, { dtype, shape, values, encoding, compression }] of tensors) {
  console.log(name, dtype, shape, values ?? `not decoded here: stored as ${compression ?? "plain"} ${encoding}`);
}
