/* Intrinsics of Visual C++ that mingw-w64's intrin.h declares and does not define. */
void __invlpg(void *address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
void _disable(void) { __asm__ volatile("cli" : : : "memory"); }
void _enable(void) { __asm__ volatile("sti" : : : "memory"); }
