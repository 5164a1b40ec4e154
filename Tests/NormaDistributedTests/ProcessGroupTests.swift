@testable import NormaDistributed
import NormaTensor
import Testing
import WorkerSupport

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

  /// How many CUDA devices tensors can be made on, up to two.
  private static let devices = (0..<2).filter { (try? Tensor.zeros([1], device: .cuda($0))) != nil }.count

  @Test(.enabled(if: devices == 2, "needs two CUDA devices"))
  func operationsOnDevices() throws {
    let sums = try withWorkers(2) { group in
      let device = try Device.cuda(group.rank)
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
      "\(try #require(throws: WorkerError.self) { try group.deviceConnections() })"
    }
    for (rank, message) in messages.enumerated() {
      #expect(message.contains("rank \(rank) cannot reach other processes' CUDA devices by NCCL"))
      #expect(message.contains("without NCCL") || message.contains("no GPUs found"))
      #expect(message.contains("make setup"))
    }
  }
}
