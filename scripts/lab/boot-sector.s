# The boot sector of the ipxe test. It reads the disk's second sector by the BIOS's int 13h, which iPXE has hooked, and prints
# the text there. The text is on the disk only, so its appearance proves that it came over AoE.
.code16
.globl _start
_start:
	ljmp $0, $start
start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	cld
	mov $packet, %si
	mov $0x42, %ah		# extended read; dl is still the drive this sector came from
	int $0x13
	mov $0x8000, %si
	jnc print
	mov $failed, %si
print:
	lodsb
	test %al, %al
	jz stop
	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	jmp print
stop:
	sti			# the BIOS's serial console holds output back until a timer interrupt
	hlt
	jmp stop
packet:
	.byte 16, 0
	.word 1, 0x8000, 0	# one sector, to 0:8000
	.quad 1			# from LBA 1
failed:
	.asciz "int 13h failed\r\n"
	.org 510
	.word 0xaa55
