import CTorch
import Foundation
import NormaTensor
import Testing
import WorkerSupport

@testable import NormaDistributed

@Suite(.serialized) struct ProcessGroupTests {
  @Test(arguments: [1, 2, 3, 4])
  func operations(_ count: Int) throws {
    let sums = try withWorkers(count) { group in
      let rank = Double(group.rank)
      let values = try Tensor([rank, 1, -rank])
      try group.broadcast([values], from: group.size - 1)
      return (
        try group.sum([rank, 1]), try values.array(of: Double.self),
        try group.gather([UInt8](repeating: UInt8(group.rank), count: group.rank))
      )
    }
    let last = Double(count - 1)
    for (sum, values, gathered) in sums {
      #expect(sum == [last * Double(count) / 2, Double(count)])
      #expect(values == [last, 1, -last])
      #expect(gathered == (0..<count).map { [UInt8](repeating: UInt8($0), count: $0) })
    }
  }

  @Test func ranksOfAMachineAreNumbered() throws {
    let places = try withWorkers(3) { ($0.ranksOnThisMachine, $0.localRank) }
    #expect(places.map(\.0) == [[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    #expect(places.map(\.1) == [0, 1, 2])
  }

  /// How many CUDA devices tensors can be made on, up to two.
  private static let devices = (0..<2).filter { (try? Tensor.zeros([1], device: .cuda($0))) != nil }.count

  @Test(.enabled(if: devices == 2, "needs two CUDA devices"))
  func operationsOnDevices() throws {
    let sums = try withWorkers(2) { group in
      let device = try Device.cuda(group.localRank)
      let values = try Tensor([Double(group.rank), 1]).to(device: device)
      try group.broadcast([values], from: 1)
      let sum = try Tensor([Double(group.rank), 1]).to(device: device)
      try group.beginSum(sum, on: .gradients).wait()
      return (try values.array(of: Double.self), try sum.array(of: Double.self))
    }
    for (values, sum) in sums {
      #expect(values == [1, 1])
      #expect(sum == [1, 2])
    }
  }

  @Test(.enabled(if: devices == 0, "there is a CUDA device"))
  func withoutDevicesTheRemedyIsTold() throws {
    _ = try? Device.cuda()
    let messages = try withWorkers(2) { group in
      "\(try #require(throws: WorkerError.self) { try group.deviceConnections(Device(type: 1, index: 0)) })"
    }
    for message in messages {
      #expect(message.contains("CUDA devices cannot be connected by NCCL: ranks 0, 1: "))
      #expect(message.contains("without NCCL") && message.contains("make setup") || message.contains("no GPUs found"))
    }
  }

  /// Gloo on the CPU in NCCL's place.
  private static func engine(place: @escaping @Sendable (Int) -> String = { "device \($0)" })
    -> ProcessGroup.DeviceEngine
  {
    var engine = ProcessGroup.DeviceEngine.nccl
    engine.make = { group, store, _ in
      let made = try #require(
        ct_group(store.handle, "devices", Int32(group.rank), Int32(group.size), "127.0.0.1", nil, group.timeout))
      return (ProcessGroup.Connections(made), place(group.rank))
    }
    return engine
  }

  /// A group of each process's own, which waits for none.
  private static let loneEngine: ProcessGroup.DeviceEngine = {
    var engine = Self.engine()
    engine.make = { group, store, _ in
      let made = try #require(ct_group(store.handle, "\(group.rank)", 0, 1, "127.0.0.1", nil, group.timeout))
      return (ProcessGroup.Connections(made), "\(group.rank)")
    }
    return engine
  }()

  @Test func devicesConnectOnce() throws {
    let isOnce = try withWorkers(3) { group in
      try group.deviceConnections(.cpu, by: Self.engine()) === group.deviceConnections(.cpu, by: Self.engine())
    }
    #expect(isOnce == [true, true, true])
  }

  @Test func aRankWithoutNCCLIsNamedByAll() throws {
    let messages = try withWorkers(3) { group in
      var engine = Self.loneEngine
      engine.make = { [make = engine.make] in
        if $0.rank == 1 { throw TensorError(operation: "NCCL", message: "no such library") }
        return try make($0, $1, $2)
      }
      return "\(try #require(throws: WorkerError.self) { try group.deviceConnections(.cpu, by: engine) })"
    }
    #expect(
      messages.allSatisfy {
        $0.hasPrefix("CUDA devices cannot be connected by NCCL: rank 1: no such library (NCCL_DEBUG")
      })
  }

  @Test func ranksWithTheSameDeviceAreNamed() throws {
    let messages = try withWorkers(3) { group in
      let engine = Self.engine { $0 == 0 ? "0000:01:00.0" : "0000:02:00.0" }
      return "\(try #require(throws: WorkerError.self) { try group.deviceConnections(.cpu, by: engine) })"
    }
    #expect(messages.allSatisfy { $0.hasPrefix("ranks 1, 2 have the same CUDA device (0000:02:00.0), but each") })
  }

  /// As NCCL waits where the machines do not reach each other by its network interface.
  @Test func devicesThatDoNotConnectAreGivenUp() throws {
    let messages = try withWorkers(2) { group in
      var engine = Self.loneEngine
      engine.connect = { [rank = group.rank, connect = engine.connect] in
        if rank == 1 { sleep(30) }
        return try connect($0, $1)
      }
      let clock = ContinuousClock()
      let start = clock.now
      let error = try #require(throws: WorkerError.self) {
        try group.deviceConnections(.cpu, by: engine, within: 5)
      }
      #expect(error.isCommon && clock.now - start < .seconds(20))
      return error.description
    }
    #expect(messages[0] == messages[1])
    #expect(messages[0].contains("rank 1: not connected in 5 s"))
  }

  @Test func aRankThatFailsToConnectIsNamedByAll() throws {
    let messages = try withWorkers(3) { group in
      var engine = Self.engine()
      engine.connect = { [rank = group.rank] _, _ in
        // The others wait for it.
        guard rank == 2 else { sleep(30); throw TensorError(operation: "NCCL", message: "too late") }
        throw TensorError(
          operation: "NCCL",
          message:
            "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error, NCCL version 2.29\nncclUnhandledCudaError: Call failed.\n"
            + "Last error:\nCuda failure 2 'out of memory'")
      }
      return try #require(throws: WorkerError.self) { try group.deviceConnections(.cpu, by: engine) }.description
    }
    for message in messages {
      #expect(
        message.contains("rank 2: NCCL error") && message.contains(": Cuda failure 2 'out of memory' (NCCL_DEBUG"))
    }
  }

  /// One that is killed while devices connect tells nothing: its connections end.
  @Test func aRankLostWhileDevicesConnectIsNamed() throws {
    let results = try workerResults(2, timeout: 60) { group in
      var engine = Self.loneEngine
      engine.connect = { _, _ in
        sleep(30)
        throw TensorError(operation: "NCCL", message: "too late")
      }
      if group.rank == 1 {
        // All that it does is to agree that it has a device.
        _ = try group.gather(Array("+a device".utf8))
        throw WorkerError("ended")
      }
      _ = try group.deviceConnections(.cpu, by: engine)
    }
    let message = "\(try #require(throws: WorkerError.self) { try results[0].get() })"
    #expect(message.contains("rank 1 of 2"))
  }

  /// Who waits for a device hears of it, and leaves NCCL's connection behind.
  @Test func aFailureIsHeardOfWhileADeviceIsWaitedFor() throws {
    let results = try workerResults(2) { group in
      let device = try group.deviceConnections(.cpu, by: Self.engine())
      guard group.rank == 0 else { throw TensorError(operation: "conv", message: "out of memory") }
      let tensor = try Tensor.zeros([1])
      let work = try #require(ct_group_all_reduce(device.handle, tensor.handle))
      try ProcessGroup.Pending(
        group: group, lane: .gradients, work: .init(work), tensors: [tensor], kind: .device
      ).wait()
    }
    let message = "\(try #require(throws: WorkerError.self) { try results[0].get() })"
    #expect(message.contains("rank 1 of 2 failed: ") && message.contains("out of memory"))
  }

  @Test func theOnlyDeviceThatIsSeenIsTaken() throws {
    let indices = try withWorkers(2) { ($0.deviceIndex(of: 1), $0.deviceIndex(of: 8)) }
    #expect(indices.map(\.0) == [0, 0])
    #expect(indices.map(\.1) == [0, 1])
  }

  @Test func aLocalRankThatIsToldCounts() throws {
    var variables = ["RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"]
    #expect(try #require(try WorkerEnvironment { variables[$0] }).localRank == nil)
    variables["LOCAL_RANK"] = "1"
    #expect(try #require(try WorkerEnvironment { variables[$0] }).localRank == 1)
  }
}
