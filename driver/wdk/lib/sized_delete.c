/* The sized forms of operator delete, which Visual C++'s library has: they call the driver's own, which takes the pointer
   alone. A driver that defines them itself is linked with its own. The names are those of the Itanium C++ ABI. */
extern void _ZdlPv(void *memory);

void _ZdlPvy(void *memory, unsigned long long size) {
    (void)size;
    _ZdlPv(memory);
}
