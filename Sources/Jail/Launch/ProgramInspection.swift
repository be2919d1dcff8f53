import CLinux
import Glibc
import Kernel

/// How the program is started, as its file says inside the jail, where every path means what it
/// means to execve(2).
enum ProgramInspection {
  enum Kind: Equatable {
    /// No loader of ours runs: the kernel starts it, or refuses it.
    case alone
    case dynamic(ElfFile)
    /// A script whose interpreter is named from the working directory.
    case relativeInterpreter([UInt8])
  }

  /// Follows scripts to their interpreters: execve(2), "Interpreter scripts". What cannot be
  /// opened is left to execve(2), which will say so.
  static func kind(of program: RawArgument) throws(SystemError) -> Kind? {
    var path = program.bytes
    for _ in 0..<6 {
      let number = open(path.map { CChar(bitPattern: $0) } + [0], O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      guard number >= 0 else { return nil }
      let file = Held(Descriptor(owning: number))
      let read = { (offset: UInt64, count: Int) in file.descriptor.bytes(at: offset, count: count) }
      let start = read(0, 256)
      guard start.starts(with: "#!".utf8) else {
        guard let elf = ElfFile(read), elf.loader != nil else { return .alone }
        return .dynamic(elf)
      }
      let line = start.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
      let blanks: [UInt8] = [UInt8(ascii: " "), UInt8(ascii: "\t")]
      path = Array(line.drop { blanks.contains($0) }.prefix { !blanks.contains($0) && $0 != 0 })
      if path.first != UInt8(ascii: "/") { return .relativeInterpreter(path) }
    }
    return nil
  }

  /// That the library can be loaded into the program: it is for the machine and the C library that
  /// it was built for.
  static func check(_ elf: ElfFile, _ program: RawArgument) throws(JailError) {
    let loader = String(decoding: elf.loader ?? [], as: UTF8.self)
    let name = loader.split(separator: "/").last.map(String.init)
    guard elf.wordSize == ours.wordSize, elf.machine == ours.machine, name == ours.loader else {
      throw JailError(
        "\(program) has the loader \(loader), of another C library or word size than "
          + "\(PreloadLibrary.fileName), which could not finish its jail; -c needs "
          + "--ambient, and filters or rules for files need -T static")
    }
  }

  // EM_… of elf.h, and the names of glibc's loaders.
  #if arch(x86_64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(62), loader: "ld-linux-x86-64.so.2"
    )
  #elseif arch(arm64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(183), loader: "ld-linux-aarch64.so.1"
    )
  #elseif arch(riscv64)
    private static let ours = (
      wordSize: UInt8(2), machine: UInt16(243), loader: "ld-linux-riscv64-lp64d.so.1"
    )
  #elseif arch(arm)
    private static let ours = (
      wordSize: UInt8(1), machine: UInt16(40), loader: "ld-linux-armhf.so.3"
    )
  #elseif arch(i386)
    private static let ours = (wordSize: UInt8(1), machine: UInt16(3), loader: "ld-linux.so.2")
  #endif
}
