/* A client of Winsock Kernel: registers, makes a socket, sends. */
#include <ntddk.h>
#include <wsk.h>

static WSK_REGISTRATION Registration;
static const WSK_CLIENT_DISPATCH Dispatch = {MAKE_WSK_VERSION(1, 0), 0, NULL};
C_ASSERT(sizeof(WSK_REGISTRATION) == 0x18 && sizeof(WSK_PROVIDER_DISPATCH) == 0x38);
C_ASSERT(FIELD_OFFSET(WSK_PROVIDER_CONNECTION_DISPATCH, WskSend) == 0x30);
C_ASSERT(FIELD_OFFSET(WSK_PROVIDER_DATAGRAM_DISPATCH, WskReceiveFrom) == 0x20);
C_ASSERT(sizeof(SOCKADDR_IN) == 16 && sizeof(SOCKADDR_IN6) == 28 && sizeof(SOCKADDR_STORAGE) == 128);
C_ASSERT(sizeof(WSK_BUF) == 24 && sizeof(ADDRINFOEXW) == 72);

static DRIVER_UNLOAD Unload;
static VOID Unload(PDRIVER_OBJECT Driver) {
    UNREFERENCED_PARAMETER(Driver);
    WskDeregister(&Registration);
}

static NTSTATUS Send(PWSK_SOCKET Socket, PWSK_BUF Buffer, PIRP Irp) {
    const WSK_PROVIDER_CONNECTION_DISPATCH *offered = Socket->Dispatch;
    NTSTATUS status = offered->WskSend(Socket, Buffer, WSK_FLAG_NODELAY, Irp);
    return NT_SUCCESS(status) ? offered->Basic.WskCloseSocket(Socket, Irp) : status;
}

/* Callbacks of every listening socket. */
NTSTATUS Listening(PWSK_PROVIDER_NPI Provider) {
    WSK_EVENT_CALLBACK_CONTROL control = {(PNPIID)&NPI_WSK_INTERFACE_ID, WSK_EVENT_ACCEPT};
    IN6_ADDR any = IN6ADDR_ANY_INIT;

    control.EventMask |= any.s6_bytes[15] ? WSK_EVENT_DISABLE : 0;
    return Provider->Dispatch->WskControlClient(Provider->Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof(control),
                                                &control, 0, NULL, NULL, NULL);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING Path) {
    WSK_CLIENT_NPI client = {NULL, &Dispatch};
    WSK_PROVIDER_NPI provider;
    SOCKADDR_IN local = {AF_INET};
    NTSTATUS status;

    UNREFERENCED_PARAMETER(Path);
    Driver->DriverUnload = Unload;
    status = WskRegister(&client, &Registration);
    if (NT_SUCCESS(status) && NT_SUCCESS(WskCaptureProviderNPI(&Registration, WSK_NO_WAIT, &provider))) {
        local.sin_addr.S_un.S_addr = INADDR_ANY;
        status = provider.Dispatch->WskSocketConnect(provider.Client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local,
                                                     (PSOCKADDR)&local, 0, NULL, NULL, NULL, NULL, NULL, NULL);
        status = Send(NULL, NULL, NULL);
        WskReleaseProviderNPI(&Registration);
    }
    return status;
}
