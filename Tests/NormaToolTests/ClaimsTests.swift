import Foundation
import NormaRecords
import TestSupport
import Testing

@Suite struct ClaimsTests {
  @Test func answersAndLeavesThem() throws {
    let folder = try TemporaryFolder()
    let arguments = [
      "claims", "--quick", "--only", "gradients,cost", "--seeds", "2", "--output", folder.path("claims"),
    ]
    let outcome = try Tool.run(arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("gradients alive in deep saturating networks. HELD"))
    let record = try JSONDecoder().decode(
      ClaimsRecord.self, from: Data(contentsOf: folder.url.appendingPathComponent("claims/claims.json")))
    #expect(record.claims.map(\.name) == ["gradients", "cost"])
    let gradients = record.claims[0]
    #expect(gradients.measurements.count == 12)
    #expect(gradients.measurements.allSatisfy { $0.values.count == 2 })
    #expect(gradients.answer == .held)
    // The test follows from the measurements.
    func values(_ arm: String) throws -> [Double] {
      try #require(gradients.measurements.first { $0.arm == arm && $0.condition == "16" }).values
    }
    let difference = try zip(values("batch"), values("none")).map { $0 - $1 }.reduce(0, +) / 2
    #expect(abs(gradients.tests[0].difference.mean - difference) < 1e-9)

    let again = try Tool.run(arguments)
    #expect(again.status != 0)
    #expect(again.errors.contains("--overwrite"))
  }

  @Test func patchesOfAStack() throws {
    let folder = try TemporaryFolder()
    let images = try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    let labels = try folder.writeStack("labels.tif") { _, y, x in (x / 8 + y / 8) % 2 == 0 ? 0 : 255 }
    let outcome = try Tool.run([
      "claims", "--quick", "--only", "gradients", "--seeds", "2", "--images", images, "--labels", labels, "--json",
      "--output",
      folder.path("claims"),
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try JSONDecoder().decode(ClaimsRecord.self, from: Data(outcome.output.utf8))
    #expect(record.data.contains("images.tif"))
  }

  @Test(arguments: [
    (["--only", "nonsense"], "learning-rates"), (["--seeds", "1"], "2…1000"),
    (["--images", "a.tif"], "belong together"),
    (["--only", ""], "--only"), (["--threads", "0"], "--threads"),
  ]) func wrongOptions(_ arguments: [String], _ says: String) throws {
    let outcome = try Tool.run(["claims"] + arguments)
    #expect(outcome.status != 0)
    #expect(outcome.errors.contains(says), "\(outcome.errors)")
  }
}
