import Testing

@Suite struct InfoTests {
  @Test func tellsTheInstructionSet() throws {
    let outcome = try Tool.run(["info"])
    #expect(outcome.status == 0)
    #expect(outcome.output.contains("Instruction set of the normalization kernels"))
    #if arch(x86_64)
      let chosen = try Tool.run(["info"], environment: ["NORMA_INSTRUCTION_SET": "x86-64"])
      #expect(chosen.output.contains("kernels: x86-64\n"))
    #endif
  }

  @Test(arguments: [["info"], ["compare", "--epochs", "1", "--crop", "16"]])
  func anUnknownInstructionSetIsAnError(_ arguments: [String]) throws {
    let outcome = try Tool.run(arguments, environment: ["NORMA_INSTRUCTION_SET": "mmx"])
    #expect(outcome.status != 0)
    #expect(outcome.errors.contains("NORMA_INSTRUCTION_SET is 'mmx'"))
    #expect(outcome.output.isEmpty)
  }
}
