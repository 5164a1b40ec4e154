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
      #expect(message.contains("ranks 0, 1 cannot reach other processes' CUDA devices by NCCL"))
      #expect(message.contains("without NCCL") || message.contains("no GPUs found"))
      #expect(message.contains("make setup"))
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

  @Test func devicesConnectOnce() throws {
    let isOnce = try withWorkers(3) { group in
      try group.deviceConnections(.cpu, by: Self.engine()) === group.deviceConnections(.cpu, by: Self.engine())
    }
    #expect(isOnce == [true, true, true])
  }

  @Test func aRankWithoutNCCLIsNamedByAll() throws {
    let messages = try withWorkers(3) { group in
      var engine = Self.engine()
      // A group of its own, which waits for none.
      engine.make = { group, store, _ in
        if group.rank == 1 { throw TensorError(operation: "NCCL", message: "no such library") }
        let made = try #require(ct_group(store.handle, "\(group.rank)", 0, 1, "127.0.0.1", nil, 10))
        return (ProcessGroup.Connections(made), "\(group.rank)")
      }
      return "\(try #require(throws: WorkerError.self) { try group.deviceConnections(.cpu, by: engine) })"
    }
    #expect(
      messages.allSatisfy {
        $0.hasPrefix("rank 1 cannot reach other processes' CUDA devices by NCCL (no such library); ")
      })
  }

  @Test func ranksWithTheSameDeviceAreNamed() throws {
    let messages = try withWorkers(3) { group in
      let engine = Self.engine { $0 == 0 ? "0000:01:00.0" : "0000:02:00.0" }
      return "\(try #require(throws: WorkerError.self) { try group.deviceConnections(.cpu, by: engine) })"
    }
    #expect(messages.allSatisfy { $0.hasPrefix("ranks 1, 2 have the same CUDA device (0000:02:00.0), but each") })
  }

  /// NCCL waits without an end where the machines do not reach each other by its network interface.
  @Test func devicesThatDoNotConnectAreGivenUp() throws {
    let results = try workerResults(2, timeout: 2) { group in
      var engine = Self.engine()
      engine.connect = { _, _ in
        sleep(60)
        throw TensorError(operation: "NCCL", message: "too late")
      }
      return try group.deviceConnections(.cpu, by: engine)
    }
    for result in results {
      let message = "\(try #require(throws: WorkerError.self) { try result.get() })"
      #expect(message.contains("NCCL did not connect the devices in 2 s"))
    }
  }

  /// A process that ends while NCCL connects the others.
  @Test func aRankLostWhileDevicesConnectIsNamed() throws {
    let clock = ContinuousClock()
    let start = clock.now
    let results = try workerResults(2, timeout: 60) { group in
      var engine = Self.engine()
      engine.connect = { _, _ in
        if group.rank == 1 { throw TensorError(operation: "NCCL", message: "out of memory") }
        sleep(70)
        throw TensorError(operation: "NCCL", message: "too late")
      }
      return try group.deviceConnections(.cpu, by: engine)
    }
    #expect(clock.now - start < .seconds(40))
    let messages = try results.map { result in "\(try #require(throws: WorkerError.self) { try result.get() })" }
    #expect(messages[0].contains("out of memory"))
  }
}
