import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel

/// The program that a process of a jail executes before the jail's own, so that `/proc/self/exe` is not
/// the host's file when the kernel looks for that: a script or a loader could be named so, and the
/// host's file, open in the jail, could be written to later. It is a file in memory that makes a list
/// of system calls, the last of which is execve(2) (decision 0020).
enum Trampoline {
  /// What it does, in this order, beside the calls of a plan: maps and closes the memory where it says
  /// what has failed, and executes the program in the end.
  private enum Call {
    case mapOutcome, closeOutcome
    case loadFilter([UInt8], SystemCallFilters.Flags)
    case close(CInt)
    case execute
  }

  /// What the calls are made with.
  struct Parameters {
    let path: RawArgument
    let outcome: CInt
    /// Whether the program has a loader, so that the rest of a filter comes later.
    let isCompletedLater: Bool
    /// The number that the listener gets.
    let listener: CInt
    /// What standard error is told when execve(2) fails, before the reason; nil for nothing.
    let complaint: String?
  }

  private static func calls(
    _ steps: [CallStep], _ parameters: Parameters
  ) throws(JailError) -> [Call] {
    var calls: [Call] = [.mapOutcome, .closeOutcome]
    for step in steps {
      switch step {
      case .load(let filter):
        let program = try filter.program(whileLoading: parameters.isCompletedLater)
        calls.append(.loadFilter(program.bytes, filter.flags))
      case .tell:
        // Makes all calls wait for the launcher, and closes the descriptor of that.
        calls.append(.loadFilter(Learning.filter, Learning.flags))
        calls.append(.close(parameters.listener))
      }
    }
    return calls + [.execute]
  }

  /// In x86-64 and aarch64, with the address of the parameters at 0x1000200:
  ///
  /// 1. The addresses of the words and of the environment, as the kernel has put them on the stack,
  ///    become the second and the third argument of the last call, execve(2).
  /// 2. Each call of the first list is made. One that fails is noted in the shared memory: the error,
  ///    and where the list goes on.
  /// 3. The text of the error becomes the second part of what writev(2) is given, if there is one. Each
  ///    call of the second list is made; the last one ends the process.
  #if arch(x86_64)
    private static let machine: UInt16 = 62
    private static let bytes: [UInt8] = [
      0xbb, 0x00, 0x02, 0x00, 0x01,  // mov $0x1000200, %ebx
      0x48, 0x8d, 0x44, 0x24, 0x08,  // lea 8(%rsp), %rax      the words
      0x48, 0x8b, 0x13,  // mov (%rbx), %rdx       the last call
      0x48, 0x89, 0x42, 0x10,  // mov %rax, 16(%rdx)
      0x48, 0x8b, 0x0c, 0x24,  // mov (%rsp), %rcx
      0x48, 0x8d, 0x44, 0xcc, 0x10,  // lea 16(%rsp,%rcx,8), %rax   the environment
      0x48, 0x89, 0x42, 0x18,  // mov %rax, 24(%rdx)
      0x48, 0x8b, 0x6b, 0x08,  // mov 8(%rbx), %rbp      the first list
      0x48, 0x8b, 0x45, 0x00,  // 1: mov (%rbp), %rax
      0x48, 0x8b, 0x7d, 0x08,  // mov 8(%rbp), %rdi
      0x48, 0x8b, 0x75, 0x10,  // mov 16(%rbp), %rsi
      0x48, 0x8b, 0x55, 0x18,  // mov 24(%rbp), %rdx
      0x4c, 0x8b, 0x55, 0x20,  // mov 32(%rbp), %r10
      0x4c, 0x8b, 0x45, 0x28,  // mov 40(%rbp), %r8
      0x4c, 0x8b, 0x4d, 0x30,  // mov 48(%rbp), %r9
      0x0f, 0x05,  // syscall
      0x48, 0x83, 0xc5, 0x38,  // add $56, %rbp
      0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff,  // cmp $-4096, %rax
      0x76, 0xd6,  // jbe 1b
      0xf7, 0xd8,  // neg %eax
      0x48, 0x8b, 0x53, 0x10,  // mov 16(%rbx), %rdx     the shared memory
      0x89, 0x02,  // mov %eax, (%rdx)
      0x89, 0x6a, 0x08,  // mov %ebp, 8(%rdx)
      0x48, 0x8b, 0x6b, 0x18,  // mov 24(%rbx), %rbp     the second list
      0x48, 0x8b, 0x53, 0x20,  // mov 32(%rbx), %rdx     the parts of a text
      0x48, 0x85, 0xd2,  // test %rdx, %rdx
      0x74, 0x16,  // jz 2f
      0xc1, 0xe0, 0x06,  // shl $6, %eax
      0x48, 0x03, 0x43, 0x28,  // add 40(%rbx), %rax     the texts
      0x48, 0x8b, 0x08,  // mov (%rax), %rcx
      0x48, 0x89, 0x4a, 0x18,  // mov %rcx, 24(%rdx)
      0x48, 0x83, 0xc0, 0x08,  // add $8, %rax
      0x48, 0x89, 0x42, 0x10,  // mov %rax, 16(%rdx)
      0x48, 0x8b, 0x45, 0x00,  // 2: mov (%rbp), %rax
      0x48, 0x8b, 0x7d, 0x08,  // mov 8(%rbp), %rdi
      0x48, 0x8b, 0x75, 0x10,  // mov 16(%rbp), %rsi
      0x48, 0x8b, 0x55, 0x18,  // mov 24(%rbp), %rdx
      0x0f, 0x05,  // syscall
      0x48, 0x83, 0xc5, 0x38,  // add $56, %rbp
      0xeb, 0xe8,  // jmp 2b
    ]
  #elseif arch(arm64)
    private static let machine: UInt16 = 183
    private static let bytes: [UInt8] = [
      0xd2a0_2013,  // mov x19, #0x1000000
      0xf280_4013,  // movk x19, #0x200
      0xf940_03e9,  // ldr x9, [sp]
      0x9100_23ea,  // add x10, sp, #8            the words
      0xf940_026b,  // ldr x11, [x19]             the last call
      0xf900_096a,  // str x10, [x11, #16]
      0x8b09_0d4a,  // add x10, x10, x9, lsl #3
      0x9100_214a,  // add x10, x10, #8           the environment
      0xf900_0d6a,  // str x10, [x11, #24]
      0xf940_0674,  // ldr x20, [x19, #8]         the first list
      0xf840_8688,  // 1: ldr x8, [x20], #8
      0xa8c1_0680,  // ldp x0, x1, [x20], #16
      0xa8c1_0e82,  // ldp x2, x3, [x20], #16
      0xa8c1_1684,  // ldp x4, x5, [x20], #16
      0xd400_0001,  // svc #0
      0xb13f_fc1f,  // cmn x0, #4095
      0x54ff_ff43,  // b.lo 1b
      0xcb00_03e9,  // neg x9, x0
      0xf940_0a6b,  // ldr x11, [x19, #16]        the shared memory
      0xb900_0169,  // str w9, [x11]
      0xb900_0974,  // str w20, [x11, #8]
      0xf940_0e74,  // ldr x20, [x19, #24]        the second list
      0xf940_126b,  // ldr x11, [x19, #32]        the parts of a text
      0xb400_00cb,  // cbz x11, 2f
      0xf940_166a,  // ldr x10, [x19, #40]        the texts
      0x8b09_194a,  // add x10, x10, x9, lsl #6
      0xf840_854c,  // ldr x12, [x10], #8
      0xf900_0d6c,  // str x12, [x11, #24]
      0xf900_096a,  // str x10, [x11, #16]
      0xf840_8688,  // 2: ldr x8, [x20], #8
      0xa8c1_0680,  // ldp x0, x1, [x20], #16
      0xa8c1_0e82,  // ldp x2, x3, [x20], #16
      0xa8c1_1684,  // ldp x4, x5, [x20], #16
      0xd400_0001,  // svc #0
      0x17ff_fffb,  // b 2b
    ].flatMap { (word: UInt32) in withUnsafeBytes(of: word.littleEndian, Array.init) }
  #else
    private static let machine: UInt16 = 0
    private static let bytes: [UInt8] = []
  #endif

  static var isAvailable: Bool { !bytes.isEmpty }

  // The same file twice: once to execute, once to write to.
  private static let codeAddress: UInt64 = 0x40_0000
  private static let dataAddress: UInt64 = 0x100_0000
  private static let codePlace = 0x100
  private static let parameterPlace = 0x200
  private static let listPlace = 0x240
  private static let outcomeAddress: UInt64 = 0x200_0000
  private static let callSize = 56
  private static let textSize = 64

  /// Which step has failed, as the address says where the first list goes on; nil for the rest.
  static func failedStep(_ steps: [CallStep], at address: CInt) -> CallStep? {
    var places: [CallStep?] = [nil, nil]
    for step in steps {
      switch step {
      case .load: places.append(step)
      case .tell: places += [step, step]
      }
    }
    let index = (Int(address) - Int(dataAddress) - listPlace) / callSize - 1
    return places.indices.contains(index) ? places[index] : nil
  }

  /// The file: elf(5).
  static func file(
    _ steps: [CallStep], _ parameters: Parameters
  ) throws(JailError) -> [UInt8] {
    let calls = try calls(steps, parameters)
    var image = Image()
    let first = calls.map { call($0, parameters, &image) }
    let execute = address(listPlace + callSize * (calls.count - 1))
    var second: [[UInt64]] = []
    var parts: UInt64 = 0
    var texts: UInt64 = 0
    if let complaint = parameters.complaint {
      let prefix = Array(complaint.utf8)
      parts = image.add(words([image.add(prefix), UInt64(prefix.count), 0, 0]))
      second = [[UInt64(linux_call_writev), UInt64(STDERR_FILENO), parts, 2]]
      texts = image.add((0..<134).flatMap(text))
    }
    // Where a filter denies the one, it may allow the other.
    let status = UInt64(ExitStatus.notExecutable)
    second += [[UInt64(linux_call_exit_group), status], [UInt64(linux_call_exit), status]]
    let list = image.add(words(second.flatMap(padded)))
    image.put(
      words([execute, address(listPlace), outcomeAddress, list, parts, texts]), at: parameterPlace)
    image.put(words(first.flatMap(padded)), at: listPlace)
    image.put(bytes, at: codePlace)
    image.put(header(UInt64(image.bytes.count)), at: 0)
    return image.bytes
  }

  private static func address(_ place: Int) -> UInt64 { dataAddress + UInt64(place) }

  /// One call: its number and arguments.
  private static func call(
    _ call: Call, _ parameters: Parameters, _ image: inout Image
  ) -> [UInt64] {
    let outcome = UInt64(parameters.outcome)
    switch call {
    case .mapOutcome:
      return [
        UInt64(linux_call_mmap), outcomeAddress, 4096, UInt64(PROT_READ | PROT_WRITE),
        UInt64(MAP_SHARED | MAP_FIXED), outcome, 0,
      ]
    case .closeOutcome: return [UInt64(linux_call_close), outcome]
    case .loadFilter(let program, let flags):
      let list = image.add(words([UInt64(program.count / 8), image.add(program)]))
      return [
        UInt64(linux_call_seccomp), UInt64(SECCOMP_SET_MODE_FILTER), UInt64(flags.rawValue), list,
      ]
    case .close(let number): return [UInt64(linux_call_close), UInt64(number)]
    case .execute:
      return [UInt64(linux_call_execve), image.add(parameters.path.bytes + [0])]
    }
  }

  private static func padded(_ call: [UInt64]) -> [UInt64] {
    call + [UInt64](repeating: 0, count: callSize / 8 - call.count)
  }

  /// The length and the text of an error, as strerror(3) has it, and the end of the line.
  private static func text(_ code: Int) -> [UInt8] {
    let text = String(cString: strerror(CInt(code))).utf8.prefix(textSize - 9) + [10]
    let bytes = words([UInt64(text.count)]) + text
    return bytes + [UInt8](repeating: 0, count: textSize - bytes.count)
  }

  private static func words(_ values: [UInt64]) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.littleEndian, Array.init) }
  }

  /// The header of the file, and those of its segments: what is executed, what is written, and a
  /// stack that is not executed.
  private static func header(_ size: UInt64) -> [UInt8] {
    func half(_ values: [UInt16]) -> [UInt8] {
      values.flatMap { value in withUnsafeBytes(of: value.littleEndian, Array.init) }
    }
    func segment(_ kind: UInt64, _ flags: UInt64, _ address: UInt64, _ size: UInt64) -> [UInt8] {
      words([kind | flags << 32, 0, address, address, size, size, 0x1_0000])
    }
    let identity: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    return identity + half([2, machine, 1, 0])
      + words([codeAddress + UInt64(codePlace), 64, 0])
      + half([0, 0, 64, 56, 3, 64, 0, 0])
      + segment(1, 5, codeAddress, size) + segment(1, 6, dataAddress, size)
      + segment(0x6474_e551, 6, 0, 0)
  }

  /// The file while it is made: what has no fixed place is added at the end.
  private struct Image {
    private(set) var bytes = [UInt8](repeating: 0, count: 0x400)

    mutating func add(_ more: [UInt8]) -> UInt64 {
      bytes += [UInt8](repeating: 0, count: -bytes.count & 7)
      defer { bytes += more }
      return Trampoline.address(bytes.count)
    }

    mutating func put(_ more: [UInt8], at place: Int) {
      bytes.replaceSubrange(place..<place + more.count, with: more)
    }
  }
}
