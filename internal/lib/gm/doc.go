// Package gm gives the Chinese commercial algorithms (国密、商用密码) in the few forms that Anwang uses:
//
//   - SM3 hash (GB/T 32905-2016): [NewSM3], [SumSM3];
//   - SM2 signature (GB/T 32918.2-2016, identity and encoding by GB/T 35276-2017): [PrivateKey], [PublicKey];
//   - SM4 in Galois/counter mode (GB/T 32907-2016, mode as in GB/T 17964 and RFC 8998) for secrets at rest: [Sealer].
//
// It is a thin layer over github.com/emmansun/gmsm and adds three things: one fixed choice where the standards leave
// several, refusal of malformed input, and error texts that a person can act on. Nothing here keeps state, reads files
// or knows where keys lie; keys belong outside the database (密码法, GB/T 39786-2021), which is for the caller to see to.
//
// # Weaknesses
//
// The implementation is not a certified cryptographic module (商用密码产品认证). Where an assessment (密评) demands one,
// the signing key belongs in a certified device, and only the format of keys and signatures stays as it is here.
// Private keys are held in ordinary memory. Random numbers come from the operating system.
package gm
