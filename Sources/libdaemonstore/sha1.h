// SHA-1 (RFC 3174), as names of users are hashed with. Not for anything that must resist forgery.
#pragma once

#include <stdint.h>
#include <string.h>

struct sha1 {
    uint32_t state[5];
    uint64_t length;  // in bytes
    unsigned char block[64];
};

static uint32_t sha1_rotated(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

static void sha1_start(struct sha1 *hash) {
    *hash = (struct sha1){
        .state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0},
    };
}

static void sha1_digest_block(struct sha1 *hash) {
    uint32_t w[80];
    for (int t = 0; t < 16; t++) {
        const unsigned char *b = hash->block + 4 * t;
        w[t] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (int t = 16; t < 80; t++) {
        w[t] = sha1_rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    uint32_t a = hash->state[0], b = hash->state[1], c = hash->state[2], d = hash->state[3],
             e = hash->state[4];
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) | (~b & d), k = 0x5a827999;
        } else if (t < 40) {
            f = b ^ c ^ d, k = 0x6ed9eba1;
        } else if (t < 60) {
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d, k = 0xca62c1d6;
        }
        uint32_t next = sha1_rotated(a, 5) + f + e + w[t] + k;
        e = d, d = c, c = sha1_rotated(b, 30), b = a, a = next;
    }
    hash->state[0] += a, hash->state[1] += b, hash->state[2] += c, hash->state[3] += d;
    hash->state[4] += e;
}

static void sha1_add(struct sha1 *hash, const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hash->block[hash->length++ % 64] = bytes[i];
        if (hash->length % 64 == 0) sha1_digest_block(hash);
    }
}

static void sha1_finish(struct sha1 *hash, unsigned char digest[20]) {
    uint64_t bits = hash->length * 8;
    sha1_add(hash, (const unsigned char[]){0x80}, 1);
    while (hash->length % 64 != 56) sha1_add(hash, (const unsigned char[]){0}, 1);
    for (int shift = 56; shift >= 0; shift -= 8) {
        sha1_add(hash, (const unsigned char[]){(unsigned char)(bits >> shift)}, 1);
    }
    for (int i = 0; i < 20; i++) {
        digest[i] = (unsigned char)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}
