#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What this machine calls itself.
let hostName: String = {
  var name = [CChar](repeating: 0, count: 256)
  guard gethostname(&name, name.count - 1) == 0 else { return "an unnamed machine" }
  return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}()

/// Tells this machine from others, which may have the same name.
let machineName = firstWord(of: "/proc/sys/kernel/random/boot_id").map { "\(hostName) \($0)" } ?? hostName

/// What such a file of the system begins with; nil where there is none.
func firstWord(of path: String) -> String? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 64)
  guard fgets(&line, Int32(line.count), file) != nil else { return nil }
  return String(decoding: line.prefix { $0 > 32 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

extension String {
  /// What a message of libtorch, Gloo or NCCL says, without the place in its sources before, and advice and traces after it.
  var reason: String {
    let lines = split(whereSeparator: \.isNewline)
    guard var line = lines.first else { return "" }
    if line.hasPrefix("["), let end = line.firstRange(of: "] ") { line = line[end.upperBound...] }
    if let end = line.firstRange(of: ". ") { line = line[..<end.lowerBound] }
    let said = line.hasSuffix(".") ? line.dropLast() : line
    // NCCL's own words come last.
    guard let last = lines.firstIndex(of: "Last error:"), last + 1 < lines.count else { return String(said) }
    return "\(said): \(lines[last + 1])"
  }
}

/// This machine's address on the way to the store, where the others are to be found too. Unlike the machine's name, which many systems
/// resolve to the loopback interface.
func localAddress(towards environment: WorkerEnvironment) -> String {
  var hints = addrinfo()
  #if canImport(Glibc)
    hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
  #else
    hints.ai_socktype = SOCK_DGRAM
  #endif
  var found: UnsafeMutablePointer<addrinfo>?
  guard getaddrinfo(environment.address, "\(environment.port)", &hints, &found) == 0 else { return "127.0.0.1" }
  defer { freeaddrinfo(found) }
  var next = found
  while let info = next?.pointee {
    next = info.ai_next
    let descriptor = socket(info.ai_family, info.ai_socktype, 0)
    guard descriptor >= 0 else { continue }
    defer { close(descriptor) }
    // Sends nothing, but chooses the way.
    guard connect(descriptor, info.ai_addr, info.ai_addrlen) == 0 else { continue }
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let isKnown = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        getsockname(descriptor, pointer, &length) == 0
          && getnameinfo(pointer, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
      }
    }
    if isKnown { return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
  }
  return "127.0.0.1"
}

/// A socket on the loopback interface that listens at a port of its own. Who starts the processes of one machine makes it and hands it to the
/// one that keeps the store: so nobody else can take the port meanwhile, and who comes early waits in line.
public struct ListeningSocket: ~Copyable {
  public let port: Int
  public let descriptor: Int32

  /// - Parameter port: 0 takes one that the system chooses.
  /// - Throws: ``WorkerError`` where somebody has the port, or the machine has none left, or no file descriptor.
  public init(port: UInt16 = 0) throws {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    #if canImport(Glibc)
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #else
      descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #endif
    var reason = descriptor < 0 || fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0 ? errno : 0
    withUnsafeMutablePointer(to: &address) { [descriptor] pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        if reason == 0,
          bind(descriptor, $0, length) < 0 || listen(descriptor, SOMAXCONN) < 0
            || getsockname(descriptor, $0, &length) < 0
        {
          reason = errno
        }
      }
    }
    self.port = Int(UInt16(bigEndian: address.sin_port))
    guard reason == 0 else {
      throw WorkerError("no port of this machine could be taken: \(String(cString: strerror(reason)))")
    }
  }

  deinit { close(descriptor) }

  /// Processes that are started from now on have it too, with the same descriptor.
  /// - Throws: ``WorkerError``.
  public func letChildrenInherit() throws {
    guard fcntl(descriptor, F_SETFD, 0) == 0 else {
      throw WorkerError("a socket cannot be handed to another process: \(String(cString: strerror(errno)))")
    }
  }

  /// Closes it now.
  public consuming func end() {}

  /// The descriptor, to be closed by who gets it.
  public consuming func release() -> Int32 {
    let descriptor = descriptor
    discard self
    return descriptor
  }
}

/// Seconds of a clock that all processes of this machine share.
func machineSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
