import NormaDistributed
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
}
