#include "textflag.h"

// BLAKE3 of 16 lanes at once with AVX-512, after section 5.3 of its paper: register i of the state has word i of all lanes.
// The message is transposed with shuffles, which takes a third of the time of loading it with VPGATHERDD.
//
// Registers: Z0-Z15 the state, Z16-Z31 the message. Between two blocks Z0-Z7 are the chaining values and Z8-Z15 are free.

// The initial chaining value of BLAKE3, which is that of SHA-256.
DATA iv<>+0(SB)/4, $0x6a09e667
DATA iv<>+4(SB)/4, $0xbb67ae85
DATA iv<>+8(SB)/4, $0x3c6ef372
DATA iv<>+12(SB)/4, $0xa54ff53a
DATA iv<>+16(SB)/4, $0x510e527f
DATA iv<>+20(SB)/4, $0x9b05688c
DATA iv<>+24(SB)/4, $0x1f83d9ab
DATA iv<>+28(SB)/4, $0x5be0cd19
GLOBL iv<>(SB), RODATA|NOPTR, $32

#define ADD4(x0, x1, x2, x3, y0, y1, y2, y3) \
	VPADDD x0, y0, y0; VPADDD x1, y1, y1; VPADDD x2, y2, y2; VPADDD x3, y3, y3

#define XOR4(x0, x1, x2, x3, y0, y1, y2, y3) \
	VPXORD x0, y0, y0; VPXORD x1, y1, y1; VPXORD x2, y2, y2; VPXORD x3, y3, y3

#define ROT4(n, y0, y1, y2, y3) \
	VPRORD $n, y0, y0; VPRORD $n, y1, y1; VPRORD $n, y2, y2; VPRORD $n, y3, y3

// G4 is the quarter round of four columns or diagonals, with the message words x and y.
#define G4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, x0, x1, x2, x3, y0, y1, y2, y3) \
	ADD4(x0, x1, x2, x3, a0, a1, a2, a3); ADD4(b0, b1, b2, b3, a0, a1, a2, a3); \
	XOR4(a0, a1, a2, a3, d0, d1, d2, d3); ROT4(16, d0, d1, d2, d3);              \
	ADD4(d0, d1, d2, d3, c0, c1, c2, c3);                                        \
	XOR4(c0, c1, c2, c3, b0, b1, b2, b3); ROT4(12, b0, b1, b2, b3);              \
	ADD4(y0, y1, y2, y3, a0, a1, a2, a3); ADD4(b0, b1, b2, b3, a0, a1, a2, a3); \
	XOR4(a0, a1, a2, a3, d0, d1, d2, d3); ROT4(8, d0, d1, d2, d3);               \
	ADD4(d0, d1, d2, d3, c0, c1, c2, c3);                                        \
	XOR4(c0, c1, c2, c3, b0, b1, b2, b3); ROT4(7, b0, b1, b2, b3)

#define ROUND(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15) \
	G4(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, m0, m2, m4, m6, m1, m3, m5, m7); \
	G4(Z0, Z1, Z2, Z3, Z5, Z6, Z7, Z4, Z10, Z11, Z8, Z9, Z15, Z12, Z13, Z14, m8, m10, m12, m14, m9, m11, m13, m15)

// LOAD4 reads the blocks of four lanes at R and transposes what is within 128 bits: then mc has their words c, 4+c, 8+c, 12+c.
#define LOAD4(R, m0, m1, m2, m3) \
	VMOVDQU32 (R), Z8; VMOVDQU32 (R)(DX*1), Z9; VMOVDQU32 (R)(DX*2), Z10; VMOVDQU32 (R)(R12*1), Z11; \
	VPUNPCKLDQ Z9, Z8, Z12; VPUNPCKHDQ Z9, Z8, Z13; VPUNPCKLDQ Z11, Z10, Z14; VPUNPCKHDQ Z11, Z10, Z15; \
	VPUNPCKLQDQ Z14, Z12, m0; VPUNPCKHQDQ Z14, Z12, m1; VPUNPCKLQDQ Z15, Z13, m2; VPUNPCKHQDQ Z15, Z13, m3

// SPREAD finishes what four LOAD4 began: m0 to m3 are the words c, 4+c, 8+c, 12+c of all lanes.
#define SPREAD(m0, m1, m2, m3) \
	VSHUFI32X4 $0x88, m1, m0, Z8; VSHUFI32X4 $0xdd, m1, m0, Z9; VSHUFI32X4 $0x88, m3, m2, Z10; VSHUFI32X4 $0xdd, m3, m2, Z11; \
	VSHUFI32X4 $0x88, Z10, Z8, m0; VSHUFI32X4 $0x88, Z11, Z9, m1; VSHUFI32X4 $0xdd, Z10, Z8, m2; VSHUFI32X4 $0xdd, Z11, Z9, m3

// STORE4 writes the 16 bytes of four lanes that are 4 apart.
#define STORE4(b, at) \
	VEXTRACTI32X4 $0, b, at(DI); VEXTRACTI32X4 $1, b, (at+128)(DI); VEXTRACTI32X4 $2, b, (at+256)(DI); VEXTRACTI32X4 $3, b, (at+384)(DI)

// func hashLanes(out *[lanes][32]byte, in *byte, stride, blocks uintptr, counters *[2 * lanes]uint32, flags, first, last uint32)
TEXT ·hashLanes(SB), NOSPLIT, $0-52
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ stride+16(FP), DX
	MOVQ blocks+24(FP), CX
	MOVQ counters+32(FP), BX
	MOVL flags+40(FP), AX
	ORL  first+44(FP), AX
	LEAQ (DX)(DX*2), R12 // 3 strides
	LEAQ (SI)(DX*4), R8  // lane 4
	LEAQ (SI)(DX*8), R9  // lane 8
	LEAQ (R8)(DX*8), R10 // lane 12
	LEAQ iv<>(SB), R11

	VPBROADCASTD 0(R11), Z0
	VPBROADCASTD 4(R11), Z1
	VPBROADCASTD 8(R11), Z2
	VPBROADCASTD 12(R11), Z3
	VPBROADCASTD 16(R11), Z4
	VPBROADCASTD 20(R11), Z5
	VPBROADCASTD 24(R11), Z6
	VPBROADCASTD 28(R11), Z7

block:
	CMPQ CX, $1
	JNE  notLast
	ORL  last+48(FP), AX

notLast:
	LOAD4(SI, Z16, Z17, Z18, Z19)
	LOAD4(R8, Z20, Z21, Z22, Z23)
	LOAD4(R9, Z24, Z25, Z26, Z27)
	LOAD4(R10, Z28, Z29, Z30, Z31)
	SPREAD(Z16, Z20, Z24, Z28)
	SPREAD(Z17, Z21, Z25, Z29)
	SPREAD(Z18, Z22, Z26, Z30)
	SPREAD(Z19, Z23, Z27, Z31)

	VPBROADCASTD 0(R11), Z8
	VPBROADCASTD 4(R11), Z9
	VPBROADCASTD 8(R11), Z10
	VPBROADCASTD 12(R11), Z11
	VMOVDQU32    0(BX), Z12
	VMOVDQU32    64(BX), Z13
	MOVL         $64, R13
	VPBROADCASTD R13, Z14
	VPBROADCASTD AX, Z15

	ROUND(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	ROUND(Z18, Z22, Z19, Z26, Z23, Z16, Z20, Z29, Z17, Z27, Z28, Z21, Z25, Z30, Z31, Z24)
	ROUND(Z19, Z20, Z26, Z28, Z29, Z18, Z23, Z30, Z22, Z21, Z25, Z16, Z27, Z31, Z24, Z17)
	ROUND(Z26, Z23, Z28, Z25, Z30, Z19, Z29, Z31, Z20, Z16, Z27, Z18, Z21, Z24, Z17, Z22)
	ROUND(Z28, Z29, Z25, Z27, Z31, Z26, Z30, Z24, Z23, Z18, Z21, Z19, Z16, Z17, Z22, Z20)
	ROUND(Z25, Z30, Z27, Z21, Z24, Z28, Z31, Z17, Z29, Z19, Z16, Z26, Z18, Z22, Z20, Z23)
	ROUND(Z27, Z31, Z21, Z16, Z17, Z25, Z24, Z22, Z30, Z26, Z18, Z28, Z19, Z20, Z23, Z29)
	XOR4(Z8, Z9, Z10, Z11, Z0, Z1, Z2, Z3)
	XOR4(Z12, Z13, Z14, Z15, Z4, Z5, Z6, Z7)

	MOVL flags+40(FP), AX
	ADDQ $64, SI
	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	DECQ CX
	JNZ  block

	// Back to 32 bytes a lane. Everything has been read: out may be where in was.
	VPUNPCKLDQ  Z1, Z0, Z8
	VPUNPCKHDQ  Z1, Z0, Z9
	VPUNPCKLDQ  Z3, Z2, Z10
	VPUNPCKHDQ  Z3, Z2, Z11
	VPUNPCKLDQ  Z5, Z4, Z12
	VPUNPCKHDQ  Z5, Z4, Z13
	VPUNPCKLDQ  Z7, Z6, Z14
	VPUNPCKHDQ  Z7, Z6, Z15
	VPUNPCKLQDQ Z10, Z8, Z16
	VPUNPCKHQDQ Z10, Z8, Z17
	VPUNPCKLQDQ Z11, Z9, Z18
	VPUNPCKHQDQ Z11, Z9, Z19
	VPUNPCKLQDQ Z14, Z12, Z20
	VPUNPCKHQDQ Z14, Z12, Z21
	VPUNPCKLQDQ Z15, Z13, Z22
	VPUNPCKHQDQ Z15, Z13, Z23
	STORE4(Z16, 0)
	STORE4(Z20, 16)
	STORE4(Z17, 32)
	STORE4(Z21, 48)
	STORE4(Z18, 64)
	STORE4(Z22, 80)
	STORE4(Z19, 96)
	STORE4(Z23, 112)
	VZEROUPPER
	RET
