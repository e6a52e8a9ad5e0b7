/* A Modbus server made of libmodbus and nothing else: libmodbus_server rtu PORT | tcp PORTNUMBER (0: a free one).
   Unit 17; holding register n holds 7n+3, input register n holds 5n+1, coil n is set where n % 3 == 0,
   discrete input n where n % 4 == 1. Prints "ready PORTNUMBER" when it listens. */
#include <arpa/inet.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int is_tcp = argc == 3 && strcmp(argv[1], "tcp") == 0, listening = -1, port = 0, n;
    modbus_t *ctx;
    modbus_mapping_t *map = modbus_mapping_new(500, 500, 500, 500);
    for (n = 0; n < 500; n++) {
        map->tab_bits[n] = n % 3 == 0;
        map->tab_input_bits[n] = n % 4 == 1;
        map->tab_registers[n] = 7 * n + 3;
        map->tab_input_registers[n] = 5 * n + 1;
    }
    if (is_tcp) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        ctx = modbus_new_tcp("127.0.0.1", atoi(argv[2]));
        listening = modbus_tcp_listen(ctx, 1);
        if (listening < 0 || getsockname(listening, (struct sockaddr *)&address, &size) < 0) return 1;
        port = ntohs(address.sin_port);
    } else {
        ctx = modbus_new_rtu(argv[2], 9600, 'N', 8, 1);
        modbus_set_slave(ctx, 17);
        if (modbus_connect(ctx) < 0) return 1;
    }
    printf("ready %d\n", port);
    fflush(stdout);
    if (is_tcp && modbus_tcp_accept(ctx, &listening) < 0) return 1;
    for (;;) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int length = modbus_receive(ctx, query);
        if (length > 0) modbus_reply(ctx, query, length, map);
        if (length < 0 && is_tcp) return 0;
    }
}
