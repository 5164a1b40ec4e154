#if os(Linux)
  import Foundation
  import HostsSupport
  import NormaData
  import Synchronization

  /// Nanoseconds of the clock that only goes forward.
  func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// The host that is cut off, and from when on.
  final class Cut: Sendable {
    let host: Int?
    let start = Atomic<UInt64>(.max)

    init(host: Int?) { self.host = host }

    func separates(_ source: Int, _ target: Int, at time: UInt64) -> Bool {
      (host == source || host == target) && time >= start.load(ordering: .relaxed)
    }
  }

  /// Carries the packets of one host to the others, in a thread of its own.
  ///
  /// Packets leave one after the other, each as long after the one before as the rate has it take, and arrive a fixed
  /// delay after that, so that they stay in order and the first that waits is the next one due.
  struct Relay {
    private struct Packet {
      let due: UInt64
      let target: Int
      let bytes: [UInt8]
    }

    /// What may wait of one host; more is dropped, as by a full queue of a switch.
    private static let limit = 256 << 20

    // In nanoseconds: what waking up may take; the shortest sleep: what becomes due in it goes together, or a link in full
    // use would take most of a processor for waking up at each packet; and how much too early a packet may leave to spare a
    // sleep, though the ones after it do not.
    private static let wakeup: UInt64 = 200_000
    private static let pause: UInt64 = 100_000
    private static let grain: UInt64 = 20_000

    private let devices: [Int32]
    private let source: Int
    private let cut: Cut
    private let delay: UInt64
    private let nanosecondsPerByte: Double
    /// Of 2⁵³.
    private let lost: UInt64
    private var random: RandomSource
    private var packets: [Packet?] = []
    private var first = 0
    private var waitingBytes = 0
    /// When the last packet has left.
    private var free: UInt64 = 0
    /// When the last packet arrives.
    private var last: UInt64 = 0

    init(devices: [Int32], source: Int, link: Link, cut: Cut) {
      self.devices = devices
      self.source = source
      self.cut = cut
      delay = UInt64(link.delayMilliseconds * 1e6)
      nanosecondsPerByte = link.megabits.map { 8000 / $0 } ?? 0
      lost = UInt64(link.loss * 0x1p53)
      random = RandomSource(seed: link.seed).derive(stream: UInt64(source))
    }

    /// Goes on until the process ends.
    mutating func run() -> Never {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
      let descriptor = devices[source]
      while true {
        deliverDue()
        let count = read(descriptor, buffer.baseAddress!, buffer.count)
        if count > 0 {
          take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        } else {
          wait()
        }
      }
    }

    /// Waits until the host sends or the first packet is due.
    private func wait() {
      guard first < packets.count, let due = packets[first]?.due else {
        return norma_hosts_wait(devices[source], nil)
      }
      let now = monotonicNanoseconds()
      let rest = due > now ? due - now : 0
      // Processors that have slept long wake up late; the end is waited for by another, shorter wait.
      let time = max(Self.pause, rest > 2 * Self.wakeup ? rest - Self.wakeup : rest)
      var timeout = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
      if rest < Self.pause { nanosleep(&timeout, nil) } else { norma_hosts_wait(devices[source], &timeout) }
    }

    /// Takes a packet that the host sends; what is not for another host's IPv4 address goes nowhere.
    private mutating func take(_ bytes: UnsafeRawBufferPointer) {
      guard bytes.count >= 20, bytes[0] >> 4 == 4, bytes[16..<19].elementsEqual(Machine.network) else { return }
      let target = Int(bytes[19]) - 1
      guard devices.indices.contains(target) else { return }
      let now = monotonicNanoseconds()
      if nanosecondsPerByte > 0 { free = max(now, free) + UInt64(nanosecondsPerByte * Double(bytes.count)) }
      if lost > 0, random.next() >> 11 < lost { return }
      last = max(last, (free > now + Self.grain ? free : now) + delay)
      let due = last
      if due == now, first == packets.count {
        deliver(bytes, to: target, at: now)
      } else if waitingBytes + bytes.count <= Self.limit {
        packets.append(Packet(due: due, target: target, bytes: [UInt8](bytes)))
        waitingBytes += bytes.count
      }
    }

    private mutating func deliverDue() {
      guard first < packets.count else { return }
      let now = monotonicNanoseconds()
      while first < packets.count, let packet = packets[first], packet.due <= now {
        packet.bytes.withUnsafeBytes { deliver($0, to: packet.target, at: now) }
        packets[first] = nil
        first += 1
        waitingBytes -= packet.bytes.count
      }
      if first == packets.count || first > 1024 && first > packets.count / 2 {
        packets.removeFirst(first)
        first = 0
      }
    }

    private func deliver(_ bytes: UnsafeRawBufferPointer, to target: Int, at time: UInt64) {
      // A host that takes none loses it.
      if !cut.separates(source, target, at: time) { _ = write(devices[target], bytes.baseAddress!, bytes.count) }
    }
  }
#endif
