/* Intrinsics of Visual C++ that mingw-w64's intrin.h declares and does not define. */
void __invlpg(void *address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
void _disable(void) { __asm__ volatile("cli" : : : "memory"); }
void _enable(void) { __asm__ volatile("sti" : : : "memory"); }
unsigned short _byteswap_ushort(unsigned short value) { return __builtin_bswap16(value); }
unsigned long _byteswap_ulong(unsigned long value) { return __builtin_bswap32(value); }
unsigned long long _byteswap_uint64(unsigned long long value) { return __builtin_bswap64(value); }

typedef unsigned long long u64;
u64 __readmsr(unsigned long number) {
    unsigned low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (u64)high << 32 | low;
}
void __writemsr(unsigned long number, u64 value) {
    __asm__ volatile("wrmsr" : : "c"(number), "a"((unsigned)value), "d"((unsigned)(value >> 32)) : "memory");
}
u64 __readpmc(unsigned long counter) {
    unsigned low, high;
    __asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(counter));
    return (u64)high << 32 | low;
}
#define CONTROL_REGISTER(number)                                                                                       \
    u64 __readcr##number(void) {                                                                                       \
        u64 value;                                                                                                     \
        __asm__ volatile("mov %%cr" #number ", %0" : "=r"(value) : : "memory");                                        \
        return value;                                                                                                  \
    }                                                                                                                  \
    void __writecr##number(u64 value) { __asm__ volatile("mov %0, %%cr" #number : : "r"(value) : "memory"); }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)
CONTROL_REGISTER(8)
#define DEBUG_REGISTER(number)                                                                                         \
    case number: __asm__ volatile("mov %%dr" #number ", %0" : "=r"(value)); break;
u64 __readdr(unsigned number) {
    u64 value = 0;
    switch (number) {
        DEBUG_REGISTER(0)
        DEBUG_REGISTER(1)
        DEBUG_REGISTER(2)
        DEBUG_REGISTER(3)
        DEBUG_REGISTER(6)
        DEBUG_REGISTER(7)
    default: break;
    }
    return value;
}
#undef DEBUG_REGISTER
#define DEBUG_REGISTER(number)                                                                                         \
    case number: __asm__ volatile("mov %0, %%dr" #number : : "r"(value)); break;
void __writedr(unsigned number, u64 value) {
    switch (number) {
        DEBUG_REGISTER(0)
        DEBUG_REGISTER(1)
        DEBUG_REGISTER(2)
        DEBUG_REGISTER(3)
        DEBUG_REGISTER(6)
        DEBUG_REGISTER(7)
    default: break;
    }
}
void __halt(void) { __asm__ volatile("hlt" : : : "memory"); }
void __wbinvd(void) { __asm__ volatile("wbinvd" : : : "memory"); }
void __sidt(void *to) { __asm__ volatile("sidt (%0)" : : "r"(to) : "memory"); }
void __lidt(void *from) { __asm__ volatile("lidt (%0)" : : "r"(from) : "memory"); }
void _sgdt(void *to) { __asm__ volatile("sgdt (%0)" : : "r"(to) : "memory"); }
void _lgdt(void *from) { __asm__ volatile("lgdt (%0)" : : "r"(from) : "memory"); }
unsigned long __segmentlimit(unsigned long selector) {
    unsigned limit = 0;
    __asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"((unsigned)selector));
    return limit;
}
