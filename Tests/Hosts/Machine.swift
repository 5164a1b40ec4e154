#if os(Linux)
  import Foundation
  import HostsSupport

  /// Makes hosts, and watches over them until they end.
  struct Machine {
    static let network: [UInt8] = [10, 77, 0]
    private static let interface = "norma0"

    private struct Output {
      let host: Int
      let descriptor: Int32
      /// Where it goes.
      let target: Int32
      var line: [UInt8] = []
    }

    private let options: Hosts.Run
    private let cut: Cut
    /// The first process of each host that lives.
    private var processes: [pid_t: Int] = [:]
    private var outputs: [Output] = []
    private var status: Int32 = 0
    /// When hosts are to be cut off or killed, once it is known, and whether they are.
    private var faultTime: UInt64?
    private var isFaultMade = false

    /// Runs a command and returns the status to end with.
    static func run(_ options: Hosts.Run) throws -> Int32 {
      var machine = Machine(options: options, cut: Cut(host: options.cut))
      return try machine.run()
    }

    private init(options: Hosts.Run, cut: Cut) {
      self.options = options
      self.cut = cut
    }

    private mutating func run() throws -> Int32 {
      guard geteuid() == 0 else { throw HostsError(description: "hosts need network namespaces: run this as root") }
      // Signals are read beside the output, and by the first process of each host.
      var signals = sigset_t()
      sigemptyset(&signals)
      for signal in [SIGCHLD, SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
      sigprocmask(SIG_BLOCK, &signals, nil)
      let signalDescriptor = signalfd(-1, &signals, Int32(SFD_CLOEXEC))
      guard signalDescriptor >= 0 else { throw Self.error("read signals") }

      let (devices, spaces) = try open()
      for host in 0..<options.count { try start(host, in: spaces[host], &signals) }
      // What the hosts compute shall not hold up their packets. Threads inherit both.
      norma_hosts_wait_precisely()
      setpriority(.init(PRIO_PROCESS.rawValue), 0, -20)
      for source in 0..<options.count {
        let relay = Relay(devices: devices, source: source, link: options.link, cut: cut)
        Thread.detachNewThread {
          var relay = relay
          relay.run()
        }
      }
      if options.upon == nil { setFault() }
      while !processes.isEmpty || !outputs.isEmpty { wait(signalDescriptor) }
      return status
    }

    /// The TUN devices and the namespaces of the hosts.
    private func open() throws -> ([Int32], [Int32]) {
      var (devices, spaces): ([Int32], [Int32]) = ([], [])
      for host in 0..<options.count {
        var space: Int32 = -1
        var step: UnsafePointer<CChar>?
        let device = norma_hosts_open(Self.interface, Self.address(host), Int32(options.link.mtu), &space, &step)
        guard device >= 0 else { throw Self.error(String(cString: step!)) }
        devices.append(device)
        spaces.append(space)
      }
      return (devices, spaces)
    }

    private static func address(_ host: Int) -> String {
      (network.map(Int.init) + [host + 1]).map(String.init).joined(separator: ".")
    }

    private mutating func start(_ host: Int, in space: Int32, _ signals: inout sigset_t) throws {
      var environment = ProcessInfo.processInfo.environment
      if options.environment == .torch {
        environment.merge([
          "RANK": "\(host)", "WORLD_SIZE": "\(options.count)", "LOCAL_RANK": "0", "MASTER_ADDR": Self.address(0),
          "MASTER_PORT": "\(options.port)", "GLOO_SOCKET_IFNAME": Self.interface,
        ]) { $1 }
      }
      var pipes: [[Int32]] = []
      for target in [STDOUT_FILENO, STDERR_FILENO] {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Self.error("make a pipe") }
        pipes.append(ends)
        outputs.append(Output(host: host, descriptor: ends[0], target: target))
      }
      var arguments = options.command.map { strdup($0) } + [nil]
      var variables = environment.map { strdup("\($0)=\($1)") } + [nil]
      let process = norma_hosts_start(space, &arguments, &variables, pipes[0][1], pipes[1][1], &signals)
      guard process > 0 else { throw Self.error("start a process in namespaces of its own") }
      for text in arguments + variables { free(text) }
      for ends in pipes { close(ends[1]) }
      processes[process] = host
    }

    private static func error(_ step: String) -> HostsError {
      HostsError(description: "this machine cannot run hosts: cannot \(step): \(String(cString: strerror(errno)))")
    }

    /// Waits for what comes next: output, a signal, the end of a host, or the moment of the fault.
    private mutating func wait(_ signals: Int32) {
      var timeout: Int32 = -1
      if let faultTime, !isFaultMade {
        let now = monotonicNanoseconds()
        // Rounded up, or the last millisecond would be spent in turning round.
        timeout = faultTime > now ? Int32((faultTime - now) / 1_000_000 + 1) : 0
      }
      var descriptors = ([signals] + outputs.map(\.descriptor)).map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      let ready = poll(&descriptors, nfds_t(descriptors.count), timeout)
      if let faultTime, monotonicNanoseconds() >= faultTime { makeFault() }
      guard ready > 0 else { return }
      for index in outputs.indices.reversed() where descriptors[index + 1].revents != 0 { pass(index) }
      if descriptors[0].revents != 0 {
        var information = signalfd_siginfo()
        _ = read(signals, &information, MemoryLayout<signalfd_siginfo>.size)
        let signal = Int32(information.ssi_signo)
        if signal == SIGCHLD { collect() } else { for process in processes.keys { kill(process, signal) } }
      }
    }

    private mutating func collect() {
      var end: Int32 = 0
      while case let process = waitpid(-1, &end, WNOHANG), process > 0 {
        guard let host = processes.removeValue(forKey: process) else { continue }
        let code = end & 0x7F == 0 ? end >> 8 & 0xFF : 128 + end & 0x7F
        guard code != 0 else { continue }
        let isKilled = host == options.kill && isFaultMade
        tell("host \(host) ended with status \(code)\(isKilled ? ", being killed" : "")")
        if status == 0, !isKilled { status = code }
      }
    }

    private func tell(_ text: String) { Self.write([UInt8]("norma-hosts: \(text)\n".utf8), to: STDERR_FILENO) }

    private mutating func setFault() {
      guard options.cut != nil || options.kill != nil, faultTime == nil else { return }
      let time = monotonicNanoseconds() + UInt64((options.after ?? 0) * 1e9)
      faultTime = time
      cut.start.store(time, ordering: .relaxed)
    }

    private mutating func makeFault() {
      guard !isFaultMade else { return }
      isFaultMade = true
      if let host = options.cut { tell("host \(host) is cut off") }
      if let host = options.kill, let process = processes.first(where: { $0.value == host })?.key {
        kill(process, SIGKILL)
        tell("host \(host) is killed")
      }
    }

    /// Passes whole lines on.
    private mutating func pass(_ index: Int) {
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      let count = read(outputs[index].descriptor, &buffer, buffer.count)
      if count > 0 {
        outputs[index].line += buffer[..<count]
      } else if count == 0, !outputs[index].line.isEmpty {
        outputs[index].line.append(UInt8(ascii: "\n"))
      }
      let output = outputs[index]
      var start = 0
      while let end = output.line[start...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = output.line[start...end]
        Self.write([UInt8]("[host \(output.host)] ".utf8) + line, to: output.target)
        if let upon = options.upon, String(decoding: line, as: UTF8.self).contains(upon) { setFault() }
        start = end + 1
      }
      outputs[index].line.removeFirst(start)
      if count == 0 {
        close(output.descriptor)
        outputs.remove(at: index)
      }
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
      bytes.withUnsafeBytes { bytes in
        var rest = bytes[...]
        while !rest.isEmpty {
          let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress!, rest.count)
          if count < 0, errno != EINTR { return }
          rest = rest.dropFirst(max(0, count))
        }
      }
    }
  }
#endif
