/* Intrinsics of Visual C++ that mingw-w64's intrin.h declares and does not define. */
void __invlpg(void *address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
void _disable(void) { __asm__ volatile("cli" : : : "memory"); }
void _enable(void) { __asm__ volatile("sti" : : : "memory"); }
unsigned short _byteswap_ushort(unsigned short value) { return __builtin_bswap16(value); }
unsigned long _byteswap_ulong(unsigned long value) { return __builtin_bswap32(value); }
unsigned long long _byteswap_uint64(unsigned long long value) { return __builtin_bswap64(value); }
