import CTorch
import Dispatch
import NormaTensor
import Synchronization

/// How processes reach each other's CUDA devices: NCCL, which waits without an end for one that does not come. So it is asked on a thread that can
/// be left behind, and all go on, or end, when all have told each other over Gloo how it went.
extension ProcessGroup {
  /// What carries tensors between devices.
  struct DeviceEngine: Sendable {
    /// This process's part, and what tells its device from others of its machine. Waits for nobody.
    var make: @Sendable (ProcessGroup, KeyValueStore, Device) throws -> (Connections, place: String)
    /// Sums a tensor on the device over all processes, which connects the devices.
    var connect: @Sendable (Connections, Tensor) throws -> Void

    static let nccl = DeviceEngine {
      var place: UnsafePointer<CChar>?
      guard
        let group = ct_group_nccl(
          $1.handle, $1.name("nccl"), Int32($0.rank), Int32($0.size), Int32($2.index), &place, $0.timeout)
      else { throw TensorError.last("NCCL") }
      return (Connections(group), place.map { String(cString: $0) } ?? "\($2)")
    } connect: {
      guard let handle = ct_group_all_reduce($0.handle, $1.handle) else { throw TensorError.last("NCCL") }
      let work = Pending.Work(handle)
      while try !work.waitOnDevice(1) {}
    }
  }

  /// The number of this process's device among those that it sees: the only one, as schedulers often grant it, or that of ``localRank``.
  public func deviceIndex(of count: Int) -> Int { count == 1 ? 0 : localRank }

  /// Those that all processes' CUDA devices have, made when they are first asked for. All processes are to ask at the same place.
  /// - Parameters:
  ///   - device: this process's.
  ///   - seconds: how long they may take to connect; ``timeout`` unless given.
  /// - Throws: ``WorkerError``, in all processes, when one of them has no NCCL, two have the same device, or they do not connect in time.
  func deviceConnections(_ device: Device, by engine: DeviceEngine = .nccl, within seconds: Double? = nil) throws
    -> Connections
  {
    try connectingDevices.withLock { _ in
      if let made = devices.withLock({ $0 }) { return made }
      // NCCL waits at this connection to the store, while this process looks for news at its own.
      let meeting: KeyValueStore
      do { meeting = try store.another(seconds: timeout) } catch {
        throw blame(Self.reason(of: error) ?? "\(environment.store) did not answer again", isLate: false)
      }
      let own = Result {
        let (made, place) = try engine.make(self, meeting, device)
        return (connections: made, place: place, first: try Tensor.zeros([1]).to(device: device))
      }
      let places = try agreed(own.map { "\(machineName) \($0.place)" })
      for taken in places {
        let same = places.indices.filter { places[$0] == taken }
        if same.count > 1 {
          throw common(
            "\(Self.ranks(same)) have the same CUDA device (\(taken.split(separator: " ").last!)), but each process needs its own: start as many on a "
              + "machine as it has devices, with --device cuda, which takes that of LOCAL_RANK")
        }
      }
      let (made, _, first) = try own.get()
      do { try connect(within: seconds ?? timeout) { try engine.connect(made, first) } } catch {
        made.leaveBehind()
        throw error
      }
      devices.withLock { $0 = made }
      return made
    }
  }

  /// Runs the body, which waits for others' bodies, until it has returned in all processes.
  private func connect(within seconds: Double, _ body: @escaping @Sendable () throws -> Void) throws {
    let box = Box()
    DispatchQueue(label: "norma.devices").async {
      let result = Result { try body() }
      box.result.withLock { $0 = result }
      box.isDone.signal()
    }
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    var pause = 0.001
    while true {
      let isLate = clock.now >= end
      let own = box.result.withLock { $0 }
      let isThere = try agreed(
        own.map { $0.map { _ in "there" } }
          ?? (isLate
            ? .failure(TensorError(operation: "NCCL", message: "not connected in \(Self.inWords(seconds))"))
            : .success("")))
      if isThere.allSatisfy({ !$0.isEmpty }) { return }
      _ = box.isDone.wait(timeout: .now() + pause)
      pause = min(2 * pause, 0.25)
    }
  }

  private final class Box: Sendable {
    let result = Mutex<Result<Void, any Error>?>(nil)
    let isDone = DispatchSemaphore(value: 0)
  }

  /// What all processes tell, when none has failed.
  private func agreed(_ own: Result<String, any Error>) throws -> [String] {
    let (success, failure): (Character, Character) = ("+", "-")
    let own =
      switch own {
      case .success(let text): "\(success)\(text)"
      case .failure(let error): "\(failure)\(Self.reason(of: error) ?? "\(error)")"
      }
    let all = try gather(Array(own.utf8)).map { String(decoding: $0, as: UTF8.self) }
    let failed = all.indices.filter { all[$0].first == failure }
    guard !failed.isEmpty else { return all.map { String($0.dropFirst()) } }
    var reasons: [String] = []
    for rank in failed where !reasons.contains(all[rank]) { reasons.append(all[rank]) }
    throw common(
      "CUDA devices cannot be connected by NCCL: "
        + reasons.map { reason in "\(Self.ranks(failed.filter { all[$0] == reason })): \(reason.dropFirst())" }
        .joined(separator: "; ")
        + " (NCCL_DEBUG=INFO has NCCL tell more, NCCL_SOCKET_IFNAME names the network interface that it is to use)",
      rank: failed[0])
  }

  /// What all processes end with.
  private func common(_ message: String, rank: Int? = nil) -> WorkerError {
    WorkerError(message, rank: rank, isCommon: true)
  }

  /// What devices still have to do would have who waits for them wait for good.
  /// Nobody may wait for one any more: it would seem to have come to its end.
  /// - Parameter isFailure: whether a process may be lost, so that to give up can take long too.
  func abandonDevices(isFailure: Bool) {
    let connections = devices.withLock { connections in
      defer { connections = nil }
      return connections
    }
    guard let connections else { return }
    guard isFailure else { return ct_group_abort(connections.handle) }
    connections.leaveBehind()
    DispatchQueue(label: "norma.devices").async { ct_group_abort(connections.handle) }
  }
}

extension ProcessGroup.Connections {
  /// Is never released, since that would wait for what is still under way.
  fileprivate func leaveBehind() { _ = Unmanaged.passRetained(self) }
}
