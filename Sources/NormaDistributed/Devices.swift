import CTorch
import NormaTensor

/// How processes reach each other's CUDA devices: NCCL, of which nothing is asked before all have agreed that they are ready for it, since it
/// waits without an end for one that does not come.
extension ProcessGroup {
  /// What carries tensors between devices.
  struct DeviceEngine: Sendable {
    /// This process's part, and what tells its device from others of its machine.
    var make: @Sendable (ProcessGroup, KeyValueStore, Device) throws -> (Connections, place: String)
    /// Begins the first sum, which connects the devices: it may wait for the others without an end.
    var connect: @Sendable (Connections, Tensor) throws -> Pending.Work

    static let nccl = DeviceEngine {
      var place: UnsafePointer<CChar>?
      guard
        let group = ct_group_nccl(
          $1.handle, $1.name("nccl"), Int32($0.rank), Int32($0.size), Int32($2.index), &place, $0.timeout)
      else { throw TensorError.last("NCCL") }
      return (Connections(group), place.map { String(cString: $0) } ?? "\($2)")
    } connect: {
      guard let work = ct_group_all_reduce($0.handle, $1.handle) else { throw TensorError.last("NCCL") }
      return Pending.Work(work)
    }
  }

  /// Those that all processes' CUDA devices have, made when they are first asked for. All processes are to ask at the same place.
  /// - Parameter device: this process's.
  /// - Throws: ``WorkerError``, in all processes, when one of them has no NCCL, two have the same device, or they do not connect in time.
  func deviceConnections(_ device: Device, by engine: DeviceEngine = .nccl) throws -> Connections {
    try connectingDevices.withLock { _ in
      if let made = devices.withLock({ $0 }) { return made }
      // Devices meet by a connection of their own to the store, on which they wait while this process looks for news.
      let meeting: KeyValueStore
      do { meeting = try store.another(seconds: timeout) } catch {
        throw blame(Self.reason(of: error) ?? "\(environment.store) did not answer again", isLate: false)
      }
      let made = try agreedOn { try engine.make(self, meeting, device) }
      let first = try Tensor.zeros([1]).to(device: device)
      let work: Pending.Work
      do {
        work = try meeting.answer(within: timeout, meanwhile: look) { try engine.connect(made, first) }
      } catch is KeyValueStore.Silence {
        throw blame(
          "NCCL did not connect the devices in \(Self.inWords(timeout)); NCCL_DEBUG=INFO has it tell why, NCCL_SOCKET_IFNAME names the network "
            + "interface that it is to use", isLate: true)
      } catch { throw cause(of: error) }
      devices.withLock { $0 = made }
      try Pending(group: self, lane: .control, work: work, tensors: [first], kind: .device).wait()
      return made
    }
  }

  /// This process's part, when all processes have theirs and no two have the same device.
  private func agreedOn(_ make: () throws -> (Connections, place: String)) throws -> Connections {
    let own = Result { try make() }
    func told(_ text: String) throws -> [String] {
      try gather(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }
    var reason = ""
    if case .failure(let error) = own { reason = Self.reason(of: error) ?? "\(error)" }
    let reasons = try told(reason)
    let refusing = reasons.indices.filter { !reasons[$0].isEmpty }
    guard refusing.isEmpty else {
      throw WorkerError(
        "\(Self.ranks(refusing)) cannot reach other processes' CUDA devices by NCCL (\(reasons[refusing[0]])); install a CUDA build of torch by "
          + "pip, remove .libtorch and run `make setup` again, which says what else is missing, or use the CPU",
        rank: refusing[0])
    }
    let (made, place) = try own.get()
    let places = try told("\(machineName) \(place)")
    for taken in places {
      let same = places.indices.filter { places[$0] == taken }
      guard same.count > 1 else { continue }
      throw WorkerError(
        "\(Self.ranks(same)) have the same CUDA device (\(taken.split(separator: " ").last!)), but each process needs its own: start as many on a "
          + "machine as it has devices, with --device cuda, which takes that of LOCAL_RANK",
        rank: same[1])
    }
    return made
  }

  /// What devices still have to do would have who waits for them wait for good.
  func abandonDevices() {
    let connections = devices.withLock { connections in
      defer { connections = nil }
      return connections
    }
    if let connections { ct_group_abort(connections.handle) }
  }
}
