/* A kernel image for debuggers to read: it is never executed. Its image, laid out at its preferred base, is
   the memory of a halted x64 kernel with one processor, one process, one thread and two modules. Structures
   have the members that debuggers look up in the PDB by name; offsets are this file's own. */

typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef unsigned int ULONG;
typedef unsigned long long ULONG64;

#define KERNEL_BASE 0xFFFFF80100000000ULL
#define KERNEL_SIZE 0x40000
#define DRIVER_BASE 0xFFFFF80200000000ULL
#define DRIVER_SIZE 0x9000
#define CR3 0x1AD000ULL
#define SYMBOL(name) __declspec(dllexport) name

typedef struct _LIST_ENTRY { struct _LIST_ENTRY *Flink, *Blink; } LIST_ENTRY;
typedef struct _UNICODE_STRING { USHORT Length, MaximumLength; const USHORT *Buffer; } UNICODE_STRING;
typedef struct _DISPATCHER_HEADER { UCHAR Type, Signalling, Size, Reserved; int SignalState; LIST_ENTRY WaitListHead; } DISPATCHER_HEADER;

typedef struct _KPROCESS {
    DISPATCHER_HEADER Header;
    LIST_ENTRY ProfileListHead;
    ULONG64 DirectoryTableBase;
    LIST_ENTRY ThreadListHead;
    ULONG64 UserDirectoryTableBase;
    UCHAR AddressPolicy;
} KPROCESS;

typedef struct _PEB { UCHAR Reserved[16]; ULONG64 ImageBaseAddress; void *Ldr; } PEB;

typedef struct _EPROCESS {
    KPROCESS Pcb;
    ULONG64 ProcessLock;
    void *UniqueProcessId;
    LIST_ENTRY ActiveProcessLinks;
    ULONG Flags;
    ULONG64 CreateTime, Token;
    void *InheritedFromUniqueProcessId, *ObjectTable, *VadRoot, *WoW64Process, *SectionBaseAddress;
    void *SeAuditProcessCreationInfo;
    PEB *Peb;
    UCHAR ImageFileName[15], PriorityClass;
    LIST_ENTRY ThreadListHead;
    ULONG ActiveThreads;
    int ExitStatus;
} EPROCESS;

typedef struct _KTRAP_FRAME {
    ULONG64 P1Home, P2Home, P3Home, P4Home, P5;
    UCHAR PreviousMode, PreviousIrql, FaultIndicator, ExceptionActive;
    ULONG MxCsr;
    ULONG64 Rax, Rcx, Rdx, R8, R9, R10, R11, GsBase;
    UCHAR Xmm[0x60];
    ULONG64 FaultAddress, Dr0, Dr1, Dr2, Dr3, Dr6, Dr7, DebugRegisters[5];
    USHORT SegDs, SegEs, SegFs, SegGs;
    ULONG64 TrapFrame, Rbx, Rdi, Rsi, Rbp, ErrorCode, Rip;
    USHORT SegCs, Fill0;
    ULONG Fill1, EFlags, Fill2;
    ULONG64 Rsp;
    USHORT SegSs;
} KTRAP_FRAME;

typedef struct _CLIENT_ID { void *UniqueProcess, *UniqueThread; } CLIENT_ID;
typedef struct _KAPC_STATE { LIST_ENTRY ApcListHead[2]; KPROCESS *Process; } KAPC_STATE;

typedef struct _KTHREAD {
    DISPATCHER_HEADER Header;
    void *SListFaultAddress;
    ULONG64 QuantumTarget;
    void *InitialStack, *StackLimit, *StackBase;
    ULONG64 ThreadLock, CycleTime;
    KAPC_STATE ApcState;
    void *KernelStack;
    UCHAR State, WaitReason, WaitIrql, WaitMode, Priority, Running;
    ULONG NextProcessor;
    LIST_ENTRY ThreadListEntry;
    KTRAP_FRAME *TrapFrame;
    KPROCESS *Process;
    void *Teb;
} KTHREAD;

typedef struct _ETHREAD {
    KTHREAD Tcb;
    ULONG64 CreateTime;
    CLIENT_ID Cid;
    void *StartAddress, *Win32StartAddress;
    LIST_ENTRY ThreadListEntry, IrpList;
} ETHREAD;

typedef struct _M128A { ULONG64 Low; long long High; } M128A;

typedef struct _CONTEXT {
    ULONG64 P1Home, P2Home, P3Home, P4Home, P5Home, P6Home;
    ULONG ContextFlags, MxCsr;
    USHORT SegCs, SegDs, SegEs, SegFs, SegGs, SegSs;
    ULONG EFlags;
    ULONG64 Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    ULONG64 Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15, Rip;
    UCHAR FltSave[512];
    M128A VectorRegister[26];
    ULONG64 VectorControl, DebugControl, LastBranchToRip, LastBranchFromRip, LastExceptionToRip, LastExceptionFromRip;
} CONTEXT;

typedef struct _KSPECIAL_REGISTERS {
    ULONG64 Cr0, Cr2, Cr3, Cr4, KernelDr0, KernelDr1, KernelDr2, KernelDr3, KernelDr6, KernelDr7;
} KSPECIAL_REGISTERS;
typedef struct _KPROCESSOR_STATE { KSPECIAL_REGISTERS SpecialRegisters; CONTEXT ContextFrame; } KPROCESSOR_STATE;

typedef struct _KPRCB {
    ULONG MxCsr;
    UCHAR LegacyNumber, Reserved, InterruptRequest, IdleHalt;
    KTHREAD *CurrentThread, *NextThread, *IdleThread;
    ULONG Number;
    KPROCESSOR_STATE ProcessorState;
    ULONG MHz;
    CONTEXT *Context;
} KPRCB;

typedef struct _KPCR { ULONG64 NtTib[7]; struct _KPCR *Self; KPRCB *CurrentPrcb; UCHAR Reserved[0x100]; KPRCB Prcb; } KPCR;

typedef struct _KLDR_DATA_TABLE_ENTRY {
    LIST_ENTRY InLoadOrderLinks;
    void *ExceptionTable;
    ULONG ExceptionTableSize;
    void *GpValue, *NonPagedDebugInfo;
    ULONG64 DllBase;
    void *EntryPoint;
    ULONG SizeOfImage;
    UNICODE_STRING FullDllName, BaseDllName;
    ULONG Flags;
    USHORT LoadCount, SignatureLevel;
    void *SectionPointer;
    ULONG CheckSum, CoverageSectionSize;
    void *CoverageSection, *LoadedImports, *Spare;
    ULONG SizeOfImageNotRounded, TimeDateStamp;
} KLDR_DATA_TABLE_ENTRY;

typedef struct _LDR_DATA_TABLE_ENTRY {
    LIST_ENTRY InLoadOrderLinks, InMemoryOrderLinks, InInitializationOrderLinks;
    void *DllBase, *EntryPoint;
    ULONG SizeOfImage;
    UNICODE_STRING FullDllName, BaseDllName;
    ULONG Flags;
} LDR_DATA_TABLE_ENTRY;
typedef struct _PEB_LDR_DATA { ULONG Length; LIST_ENTRY InLoadOrderModuleList; } PEB_LDR_DATA;
typedef struct _MMPTE { ULONG64 Long; } MMPTE;
typedef struct _OBJECT_TYPE { LIST_ENTRY TypeList; UNICODE_STRING Name; void *DefaultObject; UCHAR Index; } OBJECT_TYPE;
typedef struct _OBJECT_HEADER { ULONG64 PointerCount, HandleCount, Lock; UCHAR TypeIndex, TraceFlags, InfoMask, Flags; void *Quota, *Security; ULONG64 Body; } OBJECT_HEADER;
typedef struct _HANDLE_TABLE { ULONG NextHandleNeedingPool; ULONG64 TableCode; } HANDLE_TABLE;

typedef struct _KDDEBUGGER_DATA64 {
    LIST_ENTRY List;
    UCHAR OwnerTag[4];
    ULONG Size;
    ULONG64 KernBase;
    void *BreakpointWithStatus;
    ULONG64 Reserved0[4];
    void *PsLoadedModuleList, *PsActiveProcessHead, *PspCidTable, *Reserved1[5], *KiBugcheckData, *Reserved2[0x31], *KiProcessorBlock;
    UCHAR Reserved3[0x160];
} KDDEBUGGER_DATA64;
_Static_assert(__builtin_offsetof(KDDEBUGGER_DATA64, PsLoadedModuleList) == 0x48, "as debuggers read it");
_Static_assert(__builtin_offsetof(KDDEBUGGER_DATA64, KiBugcheckData) == 0x88, "as debuggers read it");
_Static_assert(__builtin_offsetof(KDDEBUGGER_DATA64, KiProcessorBlock) == 0x218, "as debuggers read it");

extern EPROCESS SystemProcess;
extern ETHREAD SystemThread;
extern KLDR_DATA_TABLE_ENTRY KernelModule, DriverModule;
extern KDDEBUGGER_DATA64 KdDebuggerDataBlock;

#define LIST(first, last) { (LIST_ENTRY *)(first), (LIST_ENTRY *)(last) }
#define TEXT(name) { sizeof(name) - 2, sizeof(name), name }

static UCHAR Stack[0x2000] __attribute__((aligned(0x1000)));
LIST_ENTRY SYMBOL(PsLoadedModuleList) = LIST(&KernelModule, &DriverModule);
LIST_ENTRY SYMBOL(PsActiveProcessHead) = LIST(&SystemProcess.ActiveProcessLinks, &SystemProcess.ActiveProcessLinks);
LIST_ENTRY SYMBOL(KdDebuggerDataListHead) = LIST(&KdDebuggerDataBlock, &KdDebuggerDataBlock);

static const USHORT KernelPath[] = u"\\SystemRoot\\system32\\ntoskrnl.exe", KernelName[] = u"ntoskrnl.exe";
static const USHORT DriverPath[] = u"\\??\\C:\\winvm\\winvm.sys", DriverName[] = u"winvm.sys";
KLDR_DATA_TABLE_ENTRY KernelModule = {
    LIST(&DriverModule, &PsLoadedModuleList), .DllBase = KERNEL_BASE, .SizeOfImage = KERNEL_SIZE,
    .FullDllName = TEXT(KernelPath), .BaseDllName = TEXT(KernelName), .LoadCount = 1,
};
KLDR_DATA_TABLE_ENTRY DriverModule = {
    LIST(&PsLoadedModuleList, &KernelModule), .DllBase = DRIVER_BASE, .SizeOfImage = DRIVER_SIZE,
    .FullDllName = TEXT(DriverPath), .BaseDllName = TEXT(DriverName), .LoadCount = 1,
};

EPROCESS SystemProcess = {
    .Pcb = { .Header = { 3 }, .DirectoryTableBase = CR3,
             .ThreadListHead = LIST(&SystemThread.Tcb.ThreadListEntry, &SystemThread.Tcb.ThreadListEntry) },
    .UniqueProcessId = (void *)4, .ImageFileName = "System", .ActiveThreads = 1,
    .ActiveProcessLinks = LIST(&PsActiveProcessHead, &PsActiveProcessHead),
    .ThreadListHead = LIST(&SystemThread.ThreadListEntry, &SystemThread.ThreadListEntry),
};
ETHREAD SystemThread = {
    .Tcb = { .Header = { 6 }, .StackLimit = Stack, .StackBase = Stack + sizeof(Stack), .InitialStack = Stack + sizeof(Stack),
             .State = 2, .Running = 1, .Process = &SystemProcess.Pcb, .ApcState = { .Process = &SystemProcess.Pcb },
             .ThreadListEntry = LIST(&SystemProcess.Pcb.ThreadListHead, &SystemProcess.Pcb.ThreadListHead) },
    .Cid = { (void *)4, (void *)8 },
    .ThreadListEntry = LIST(&SystemProcess.ThreadListHead, &SystemProcess.ThreadListHead),
};
KPCR SYMBOL(Pcr0) = {
    .Self = &Pcr0, .CurrentPrcb = &Pcr0.Prcb,
    .Prcb = { .CurrentThread = &SystemThread.Tcb, .IdleThread = &SystemThread.Tcb, .MHz = 1000,
              .ProcessorState.SpecialRegisters.Cr3 = CR3 },
};

EPROCESS *PsInitialSystemProcess = &SystemProcess, *PsIdleProcess = &SystemProcess;
KPRCB *KiProcessorBlock[64] = { &Pcr0.Prcb };
ULONG KeNumberProcessors = 1, NtBuildNumber = 0xF0004A65;
char NtBuildLab[] = "19045.1.amd64fre";
ULONG64 KiBugCheckData[5], MmPteBase = 0xFFFFF68000000000ULL, MmHighestUserAddress = 0x7FFFFFFEFFFF;
ULONG64 MmSystemRangeStart = 0xFFFF800000000000ULL, ObTypeIndexTable[256], MmPfnDatabase;
UNICODE_STRING *KiBugCheckDriver;
void *PspCidTable, *MmUnloadedDrivers;
ULONG MmLastUnloadedDriver;
UCHAR ObHeaderCookie, KdpDataBlockEncoded;

__attribute__((naked)) void SYMBOL(DbgBreakPointWithStatus)(ULONG status) { __asm__("int3\n\tret"); }

KDDEBUGGER_DATA64 KdDebuggerDataBlock = {
    LIST(&KdDebuggerDataListHead, &KdDebuggerDataListHead), "KDBG", sizeof(KDDEBUGGER_DATA64), KERNEL_BASE,
    (void *)DbgBreakPointWithStatus, .PsLoadedModuleList = &PsLoadedModuleList, .PsActiveProcessHead = &PsActiveProcessHead,
    .PspCidTable = &PspCidTable, .KiBugcheckData = KiBugCheckData, .KiProcessorBlock = KiProcessorBlock,
};

static volatile ULONG64 Sink;
__attribute__((noinline)) void SYMBOL(KeBugCheckEx)(ULONG code, ULONG64 a, ULONG64 b, ULONG64 c, ULONG64 d) {
    KiBugCheckData[0] = code; KiBugCheckData[1] = a; KiBugCheckData[2] = b; KiBugCheckData[3] = c; KiBugCheckData[4] = d;
    DbgBreakPointWithStatus(3);
    Sink++;
}
__attribute__((noinline)) void SYMBOL(IofCallDriver)(void (*dispatch)(ULONG64)) { dispatch(Sink); Sink++; }
static void Fault(ULONG64 address) { KeBugCheckEx(0xD1, address, 2, 1, 0); }
int NtStart(void) { IofCallDriver(Fault); return 0; }

/* Types that only debuggers use: a variable keeps each in the PDB. */
KTRAP_FRAME *TrapFrameType; LDR_DATA_TABLE_ENTRY *UserModuleType; PEB_LDR_DATA *UserModulesType; MMPTE *PteType;
OBJECT_TYPE *ObjectTypeType; OBJECT_HEADER *ObjectHeaderType; HANDLE_TABLE *HandleTableType;
