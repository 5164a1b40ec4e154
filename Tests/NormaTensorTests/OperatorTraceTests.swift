import Foundation
import NormaTensor
import Testing

@Suite struct OperatorTraceTests {
  @Test func operatorsAreRecordedInOrder() throws {
    let (x, y) = (try Tensor([Float(1), -2]), try Tensor([Float(3), 4]))
    #expect(!OperatorTrace.isRecording)
    let (result, calls) = try OperatorTrace.record {
      #expect(OperatorTrace.isRecording)
      let sum = try x + y
      let shifted = try sum + 1
      return try shifted.reluInPlace()
    }
    #expect(calls.map(\.name) == ["aten::add", "aten::add", "aten::relu_"])
    let identities = calls.map { $0.results[0]?.state.identity }
    #expect(identities[1] == identities[2], "an operator in place gives the tensor that it was given")
    #expect(identities[0] != identities[1])
    #expect(identities[2] == result.state.identity)
    guard case .tensor(let first) = calls[1].arguments[0] else { throw Missing() }
    #expect(first.state.identity == identities[0])
    #expect(!OperatorTrace.isRecording)
    #expect(OperatorTrace.record {}.calls.isEmpty)
  }

  @Test func identitiesAreNotGivenOutTwice() throws {
    let x = try Tensor([Float(1)])
    let calls = try OperatorTrace.record { for _ in 0..<100 { _ = try x + 1 } }.calls
    #expect(Set(calls.map { $0.results[0]!.state.identity }).count == 100)
  }

  @Test func severalResultsAndReadsAreRecorded() throws {
    let x = try Tensor([Float(1), 2, 3])
    let calls = try OperatorTrace.record { _ = try x.split([1, 2], dimension: 0)[1].array(of: Float.self) }.calls
    #expect(calls[0].name == "aten::split_with_sizes")
    #expect(calls[0].results.map { $0?.shape } == [[1], [2]])
    #expect(calls.last?.name == OperatorTrace.read)
  }

  @Test func aComputationCanBeOneCall() throws {
    let x = try Tensor([Float(2)])
    let calls = try OperatorTrace.record {
      _ = try OperatorTrace.asOneCall("own::square", [.tensor(x)], detail: "detail") {
        #expect(!OperatorTrace.isRecording)
        return [try x * x]
      }
      _ = try x + x
    }.calls
    #expect(calls.map(\.name) == ["own::square", "aten::add"])
    #expect(calls[0].detail as? String == "detail")
    #expect(try calls[0].results[0]?.item() == 4)
  }

  @Test func otherThreadsAreLeftOut() throws {
    let x = try Tensor([Float(2)])
    let calls = try OperatorTrace.record {
      let done = DispatchSemaphore(value: 0)
      Thread {
        _ = try? x * x
        done.signal()
      }.start()
      done.wait()
      _ = try x + x
    }.calls
    #expect(calls.map(\.name) == ["aten::add"])
  }

  private struct Missing: Error {}
}
