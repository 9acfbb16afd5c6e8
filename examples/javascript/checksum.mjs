// The checksums of a sparknet message.

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  return value;
});

// The CRC-32 of zlib, gzip and PNG. Node.js has it in node:zlib, but not yet in version 18.
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// The checksum of a tensor: CRC-32 over the sums, modulo 2**64, of the 64-bit words of each full block of 4,096 bytes,
// then over the bytes that fill no block. Each word is taken as two halves: sums of 512 of them are exact in a double.
export function checksum(bytes) {
  const blocks = Math.floor(bytes.length / 4096);
  const halves = new Uint32Array(bytes.buffer, bytes.byteOffset, blocks * 1024);
  const sums = new Uint32Array(2 * blocks);
  for (let block = 0; block < blocks; block++) {
    let low = 0;
    let high = 0;
    for (let word = 1024 * block; word < 1024 * (block + 1); word += 2) {
      low += halves[word];
      high += halves[word + 1];
    }
    sums[2 * block] = low;
    sums[2 * block + 1] = high + Math.floor(low / 2 ** 32);
  }
  return crc32(bytes.subarray(4096 * blocks), crc32(new Uint8Array(sums.buffer)));
}
